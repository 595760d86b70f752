import assert from 'node:assert/strict';
import test from 'node:test';

import signature from '../dist/nodes/AgentRelayTrigger/signature.js';

const { isRecent, isSigned } = signature;

// The example of https://github.com/standard-webhooks/standard-webhooks/tree/main/libraries.
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const SIGNED = {
	id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
	timestamp: '1614265330',
	signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
	body: Buffer.from('{"test": 2432232314}'),
};

test('the signature of the specification is right', () => {
	assert.ok(isSigned(SIGNED, [SECRET]));
});

test('one of several secrets and signatures is enough', () => {
	const signature = `v2,x v1,AAAA ${SIGNED.signature}`;
	assert.ok(isSigned({ ...SIGNED, signature }, ['whsec_b3RoZXI=', SECRET]));
});

test('what was changed is not signed', () => {
	for (const change of [
		{ id: 'msg_other' },
		{ id: undefined },
		{ timestamp: '1614265331' },
		{ timestamp: undefined },
		{ body: Buffer.from('{"test": 2432232315}') },
		{ signature: undefined },
		{ signature: '' },
		{ signature: 'v1,' },
		{ signature: SIGNED.signature.replace('v1', 'v2') },
		{ signature: SIGNED.signature.slice(0, -4) },
	]) {
		assert.equal(isSigned({ ...SIGNED, ...change }, [SECRET]), false, JSON.stringify(change));
	}
	assert.equal(isSigned(SIGNED, []), false);
});

test('only what is five minutes off at most is recent', () => {
	const at = (seconds) => (1614265330 + seconds) * 1000;
	assert.deepEqual(
		[-301, -300, 0, 300, 301].map((seconds) => isRecent(SIGNED, at(seconds))),
		[false, true, true, true, false],
	);
	for (const timestamp of [undefined, '', 'now', '-1', '1e9', ' 1614265330']) {
		assert.equal(isRecent({ ...SIGNED, timestamp }, at(0)), false, String(timestamp));
	}
});
