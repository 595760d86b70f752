import assert from 'node:assert/strict';
import test from 'node:test';

import operations from '../dist/nodes/AgentRelay/operations.js';

/** The batch that a node starts for items with these options, as it asks for it. */
async function batch(...options) {
	let asked;
	const all = { agentName: 'echo', message: 'Hello', specifyParameters: 'json' };
	const context = {
		getNode: () => ({ id: 'node', name: 'Relay', type: 'agentRelay', typeVersion: 1.1 }),
		getNodeParameter: (name, item, fallback) =>
			name === 'options' ? options[item] : (all[name] ?? fallback),
		getWorkflowDataProxy: () => ({ $runIndex: 0 }),
		getWorkflow: () => ({ id: 'w' }),
		getExecutionId: () => '1',
		evaluateExpression: () => 'https://n8n.example/resume',
		getCredentials: async () => ({ url: 'https://relay.example' }),
		helpers: {
			async httpRequestWithAuthentication(_, request) {
				asked = request;
				return { statusCode: 202, body: { items: [] } };
			},
		},
	};
	await operations.startBatch(context, options.length);
	return asked;
}

const key = async (...keys) => {
	const { headers } = await batch(...keys.map((idempotencyKey) => ({ idempotencyKey })));
	return headers['idempotency-key'];
};

test('what a batch has once is sent when all items agree', async () => {
	const options = { delaySeconds: 5, priority: 60, timeoutSeconds: 600 };
	const { body } = await batch(options, { ...options, delaySeconds: '5' });
	assert.deepEqual([body.delay_seconds, body.priority, body.timeout_seconds], [5, 60, 600]);
	const none = await batch({}, { delaySeconds: 0, priority: undefined, timeoutSeconds: '' });
	assert.deepEqual(Object.keys(none.body), ['items', 'tags', 'callback_url']);
});

test('an item that differs in it is refused by the name of the field, and nothing starts', async () => {
	for (const [name, label] of [
		['delaySeconds', 'Delay'],
		['priority', 'Priority'],
		['timeoutSeconds', 'Timeout'],
	]) {
		for (const options of [
			[{ [name]: 5 }, { [name]: 5 }, { [name]: 6 }],
			[{ [name]: 5 }, { [name]: 5 }, {}],
			[{}, {}, { [name]: 5 }],
		]) {
			await assert.rejects(batch(...options), ({ message, context }) => {
				assert.match(message, new RegExp(`^${label} \\(Seconds\\) must be the same for all items`));
				assert.equal(context.itemIndex, 2);
				return true;
			});
		}
	}
});

test('the keys of all items make the key of the batch', async () => {
	assert.equal(await key('a', 'a'), 'a');
	assert.equal(await key('', undefined), 'w-1-node-0');

	const both = await key('7', 5);
	assert.match(both, /^n8n-items-[0-9a-f]{64}$/);
	assert.equal(await key('7', '5'), both, 'it is the same for each retry');
	const others = [
		await key('5', '7'),
		await key('7', '5', '3'),
		await key('7", "5', '3'),
		await key('7', ''),
		await key('', '7'),
		await key('x'.repeat(255), 'y'.repeat(255)),
	];
	assert.equal(new Set([both, ...others]).size, others.length + 1);
	assert.ok(others.every((it) => it.length <= 255));
});

test('each item has tags of its own', async () => {
	const { body } = await batch({ tags: '{"n": "1"}' }, { tags: { n: '2' } });
	assert.deepEqual(
		body.items.map(({ tags }) => tags),
		[{ n: '1' }, { n: '2' }],
	);
});
