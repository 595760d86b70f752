import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import test from 'node:test';

import api from '../dist/nodes/shared/api.js';
import node from '../dist/nodes/AgentRelayTrigger/AgentRelayTrigger.node.js';
import duplicates from '../dist/nodes/AgentRelayTrigger/duplicates.js';
import signature from '../dist/nodes/AgentRelayTrigger/signature.js';

const { webhook, webhookMethods } = new node.AgentRelayTrigger();
const ID = 'sub_01m82fnbk6he8p6hq9b40e0c0s';
const SECRET = Buffer.from('of the test').toString('base64');
const BODY = {
	type: 'execution.completed',
	timestamp: 'now',
	data: { execution_id: 'mcp-echo-1' },
};
let workflows = 0;

/** A workflow in n8n, with what it has asked agent-relay and how it has answered. */
function workflow(credential = { url: 'https://relay.example/', apiKey: `relay_${++workflows}` }) {
	const it = { asked: [], answers: [], started: 0, data: { id: ID }, refuses: false, credential };
	const id = String(++workflows);
	/** One request; `data` is a copy, as n8n loads the workflow for each. */
	it.receive = async (headers, data = it.data, body = BODY) => {
		const context = {
			getHeaderData: () => headers,
			getRequestObject: () => ({ rawBody: Buffer.from(JSON.stringify(body)) }),
			getBodyData: () => body,
			getNode: () => ({ id: 'node', name: 'Trigger', type: 'trigger', typeVersion: 1 }),
			getWorkflow: () => ({ id }),
			getWorkflowStaticData: () => data,
			getCredentials: async () => it.credential,
			getResponseObject: () => ({
				status: (status) => ({ json: () => it.answers.push(status) }),
			}),
			helpers: {
				async httpRequestWithAuthentication(_, options) {
					it.asked.push(options);
					return it.refuses
						? { statusCode: it.refuses, headers: { location: 'https://evil.example/' } }
						: { statusCode: 200, body: { secret: `whsec_${SECRET}` } };
				},
			},
		};
		const said = await webhook.call(context);
		if (said.workflowData) it.started += 1;
		return said;
	};
	return it;
}

function signed(id, at = Date.now(), body = BODY) {
	const timestamp = String(Math.floor(at / 1000));
	const right = createHmac('sha256', Buffer.from(SECRET, 'base64'))
		.update(`${id}.${timestamp}.${JSON.stringify(body)}`)
		.digest('base64');
	return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${right}` };
}

test('one event starts the workflow once, however often and together it comes', async () => {
	const it = workflow();
	const first = await it.receive(signed('msg_1'));
	assert.deepEqual(first.workflowData[0][0].json, {
		type: 'execution.completed',
		timestamp: 'now',
		webhook_id: 'msg_1',
		execution_id: 'mcp-echo-1',
	});
	for (let i = 0; i < 3; i++) await it.receive(signed('msg_1'));
	// agent-relay signs each attempt anew.
	await it.receive(signed('msg_1', Date.now() + 2000));
	assert.deepEqual([it.started, it.answers], [1, [200, 200, 200, 200]]);
	// Each with its own copy of the static data.
	await Promise.all([1, 2, 3].map(() => it.receive(signed('msg_2'), { ...it.data })));
	assert.equal(it.started, 2);
	await it.receive(signed('msg_3'));
	assert.equal(it.started, 3);
});

test('what another process has received is known by the static data', async () => {
	const it = workflow();
	it.data.heard = { msg_1: Date.now() - 9 * 60 * 1000, msg_2: Date.now() - 11 * 60 * 1000 };
	await it.receive(signed('msg_1'));
	assert.equal(it.started, 0);
	await it.receive(signed('msg_2'));
	assert.equal(it.started, 1);
});

test('ids are forgotten, and bounded', () => {
	const now = 1e12;
	assert.equal(duplicates.withId({ a: now - 1 }, 'a', now), undefined);
	assert.deepEqual(duplicates.withId({ a: now - 600_000 }, 'a', now), { a: now });
	assert.deepEqual(duplicates.withId({ a: now - 600_000, b: now - 1 }, 'c', now), {
		b: now - 1,
		c: now,
	});
	let all = {};
	for (let i = 0; i < 1200; i++) all = duplicates.withId(all, `msg_${i}`, now + i);
	assert.equal(Object.keys(all).length, 1000);
	assert.ok(all.msg_1199 && !all.msg_199);
	// Names of JavaScript's own are ids as any others.
	for (const id of ['__proto__', 'constructor', 'toString']) {
		const with_it = duplicates.withId({}, id, now);
		assert.ok(with_it, id);
		assert.equal(duplicates.withId(with_it, id, now), undefined, id);
	}
});

test('what does not look signed makes nobody ask for secrets', async () => {
	const it = workflow();
	const good = signed('msg_1');
	const [id, time, sign] = Object.keys(good);
	for (const change of [
		{ [id]: undefined, [sign]: undefined },
		{ [id]: undefined },
		{ [id]: '' },
		{ [id]: 'x'.repeat(201) },
		{ [id]: 'a b' },
		{ [sign]: undefined },
		{ [sign]: '' },
		{ [sign]: 'v1,' },
		{ [sign]: 'v1,AAAA' },
		{ [sign]: good[sign].replace('v1', 'v2') },
		{ [sign]: `v1a${good[sign]}` },
		{ [sign]: `${'x '.repeat(10)}${good[sign]}` },
		{ [time]: undefined },
		{ [time]: '1' },
	]) {
		const said = await it.receive({ ...good, ...change });
		assert.deepEqual(said, { noWebhookResponse: true }, JSON.stringify(change));
	}
	assert.deepEqual([it.started, it.asked.length, new Set(it.answers)], [0, 0, new Set([401])]);
});

test('what looks signed makes us ask once a minute, and not for each', async () => {
	const it = workflow();
	const forged = { ...signed('msg_1'), 'webhook-signature': `v1,${'A'.repeat(43)}=` };
	await Promise.all(Array.from({ length: 50 }, () => it.receive(forged)));
	assert.deepEqual([it.asked.length, it.answers.length], [1, 50]);
	await it.receive(signed('msg_1'));
	assert.deepEqual([it.asked.length, it.started], [1, 1]);
	assert.equal(it.asked[0].url, `https://relay.example/v1/subscriptions/${ID}/secret`);
	// Another key is asked with anew, and another subscription has a secret of its own.
	it.credential = { ...it.credential, apiKey: 'relay_other' };
	await it.receive(signed('msg_2'));
	assert.deepEqual([it.asked.length, it.started], [2, 2]);
	it.data.id = ID.replace('0s', '0t');
	await it.receive(signed('msg_3'));
	assert.deepEqual([it.asked.length, it.started], [3, 3]);
});

test('who has not subscribed is started by nothing, and asks for nothing', async () => {
	const it = workflow();
	it.data = {};
	await it.receive(signed('msg_1'));
	assert.deepEqual([it.asked.length, it.answers, it.started], [0, [401], 0]);
});

test('that another subscription is disabled starts no workflow', async () => {
	const it = workflow();
	const body = { type: 'subscription.disabled', timestamp: 'now', data: {} };
	await it.receive(signed('msg_1', Date.now(), body), it.data, body);
	assert.deepEqual([it.answers, it.started], [[200], 0]);
});

test('a subscription that was disabled, moved or removed is made anew', async () => {
	const url = 'https://n8n.example/webhook/1';
	for (const [status, body, exists, asked] of [
		[200, { url }, true, ['GET']],
		[200, { url: 'https://n8n.example/webhook/2' }, false, ['GET']],
		[200, { url, disabled_at: '2026-01-31T09:00:00.000Z' }, false, ['GET', 'DELETE']],
		[404, {}, false, ['GET']],
	]) {
		const methods = [];
		const context = {
			getWorkflowStaticData: () => ({ id: ID }),
			getNodeWebhookUrl: () => url,
			getCredentials: async () => ({ url: 'https://relay.example' }),
			helpers: {
				async httpRequestWithAuthentication(_, options) {
					methods.push(options.method);
					return { statusCode: options.method === 'GET' ? status : 204, body };
				},
			},
		};
		assert.equal(await webhookMethods.default.checkExists.call(context), exists);
		assert.deepEqual(methods, asked);
	}
});

test('secrets that cannot be had are not asked for by each request', async () => {
	const it = workflow();
	it.refuses = 503;
	const all = await Promise.allSettled(
		Array.from({ length: 20 }, () => it.receive(signed('msg_1'))),
	);
	assert.ok(all.every(({ status }) => status === 'rejected'));
	assert.deepEqual([it.asked.length, it.started], [1, 0]);
});

test('a redirect is not followed, since it would take the key along', async () => {
	const it = workflow();
	for (it.refuses of [301, 302, 303, 307, 308]) {
		it.credential = { ...it.credential, apiKey: `relay_${it.refuses}` };
		await assert.rejects(it.receive(signed('msg_1')));
	}
	assert.equal(it.asked.length, 5);
	assert.ok(it.asked.every((options) => options.disableFollowRedirect === true));
	assert.equal(typeof api.ask, 'function');
});

test('only what HMAC-SHA256 can give looks signed', () => {
	const { looksSigned } = signature;
	const it = { id: 'msg_1', timestamp: '1', signature: `v1,${'A'.repeat(43)}=` };
	assert.ok(looksSigned(it));
	assert.ok(looksSigned({ ...it, signature: `v2,x ${it.signature}` }));
	for (const text of ['A'.repeat(44), `${'A'.repeat(42)}==`, `${'A'.repeat(42)}_=`, '']) {
		assert.equal(looksSigned({ ...it, signature: `v1,${text}` }), false, text);
	}
});
