import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import test from 'node:test';

import node from '../dist/nodes/AgentRelay/AgentRelay.node.js';
import fields from '../dist/nodes/AgentRelay/fields.js';
import operations from '../dist/nodes/AgentRelay/operations.js';

// Node.js does not find the modules of its other form.
const { NodeHelpers } = createRequire(import.meta.url)('n8n-workflow');

const { description, methods } = new node.AgentRelay();
const { getParameters } = methods.resourceMapping;

/** The one field of a property, without what all fields have. */
function field(property, more = {}) {
	const [only] = fields.fieldsOf({ type: 'object', properties: { it: property }, ...more });
	const { id, defaultMatch, canBeUsedToMatch, display, ...rest } = only;
	assert.deepEqual(
		[id, defaultMatch, canBeUsedToMatch, display],
		['it', false, false, true],
		'each field is one to fill in',
	);
	return rest;
}

/** A field that may be left empty and that nothing describes. */
const plain = (more) => ({ displayName: 'it', required: false, ...more });

const choice = (name, value = name) => ({ name, value });

test('each type of a schema has its field', () => {
	for (const [property, type] of [
		[{ type: 'string' }, 'string'],
		[{ type: 'string', format: 'date-time' }, 'dateTime'],
		[{ type: 'string', format: 'date' }, 'string'],
		[{ type: 'integer' }, 'number'],
		[{ type: ['integer', 'number'] }, 'number'],
		[{ type: 'boolean' }, 'boolean'],
		[{ type: 'object', properties: { a: { type: 'string' } } }, 'object'],
		[{ properties: { a: { type: 'string' } } }, 'object'],
		[{ type: 'array', items: { type: 'string' } }, 'array'],
		[{ items: {} }, 'array'],
		// What may be nothing, or is said elsewhere.
		[{ type: ['string', 'null'] }, 'string'],
		[{ anyOf: [{ type: 'integer' }, { type: 'null' }] }, 'number'],
		[{ allOf: [{ $ref: '#/$defs/flag' }] }, 'boolean'],
		[{ oneOf: [{ $ref: '#/$defs/a~1b' }] }, 'array'],
	]) {
		const defs = { $defs: { flag: { type: 'boolean' }, 'a/b': { type: 'array' } } };
		assert.deepEqual(field(property, defs), plain({ type }), JSON.stringify(property));
	}
});

test('what n8n has no field for takes any JSON', () => {
	for (const property of [
		{},
		true,
		{ type: ['string', 'number'] },
		{ anyOf: [{ type: 'string' }, { type: 'array' }] },
		{ pattern: '^a' },
		{ $ref: '#/$defs/nothing' },
		{ $ref: 'https://example.com/schema' },
		{ $ref: '#/properties/it' },
		{ $ref: '#/constructor/name' },
		{ enum: [1, { a: 1 }] },
		{ enum: [] },
	]) {
		assert.deepEqual(field(property), plain(), JSON.stringify(property));
	}
});

test('the values of an enumeration are offered with their types', () => {
	const titled = { oneOf: [{ const: 1, title: 'Low' }, { const: 2 }, { type: 'null' }] };
	for (const [property, options] of [
		[{ type: 'string', enum: ['a', 'b', null] }, [choice('a'), choice('b')]],
		[{ enum: [1, '1', true] }, [choice('1', 1), choice('1'), choice('true', true)]],
		[{ const: 'a' }, [choice('a')]],
		[titled, [choice('Low', 1), choice('2', 2)]],
		[{ anyOf: [{ $ref: '#/$defs/c' }, { type: 'null' }] }, [choice('red')]],
	]) {
		const given = field(property, { $defs: { c: { enum: ['red'] } } });
		assert.deepEqual(given, plain({ type: 'options', options }), JSON.stringify(property));
	}
});

test('a field has a label, says whether it is required, and begins with its default', () => {
	const described = { type: 'integer', description: ' How\n often. ', default: 2 };
	assert.deepEqual(field(described, { required: ['it'] }), {
		displayName: 'it: How often.',
		required: true,
		type: 'number',
		defaultValue: 2,
	});
	assert.equal(field({ title: 'Often', description: 'How often.' }).displayName, 'it: Often');
	assert.equal(field({ title: 'it' }).displayName, 'it');
	assert.equal(field({ description: 'x'.repeat(200) }).displayName.length, 100);
	assert.equal(field({ type: 'array', default: ['a'] }).defaultValue, '["a"]');
	assert.equal(field({ type: 'boolean', default: false }).defaultValue, false);
	assert.ok(!('defaultValue' in field({ type: 'string', default: null })));
});

test('no text of an agent becomes an expression in a workflow', () => {
	const evil = '={{ $env.SECRET }}';
	assert.ok(!('defaultValue' in field({ type: 'string', default: evil })));
	assert.deepEqual(field({ type: 'string', enum: ['a', evil] }), plain({ type: 'string' }));
	assert.deepEqual(field({ const: evil }), plain());
	const odd = { properties: { [evil]: {}, 'a"]': {}, '': {}, 'a[0]': {}, 'a b.c-ü': {} } };
	assert.deepEqual(
		fields.fieldsOf(odd).map(({ id, displayName }) => [id, displayName]),
		[['a b.c-ü', 'a b.c-ü']],
	);
});

test('what is no schema of an object has no fields', () => {
	for (const schema of [undefined, null, true, 'text', [], {}, { type: 'object' }, { $ref: '#' }]) {
		assert.deepEqual(fields.fieldsOf(schema), []);
	}
	const referred = { $ref: '#/$defs/it', $defs: { it: { properties: { a: {} } } } };
	assert.equal(fields.fieldsOf(referred).length, 1);
});

/** What the editor is told about a node with these parameters. */
async function loaded(parameters, answer = { statusCode: 200, body: { agents: AGENTS } }) {
	return await getParameters.call({
		getCurrentNodeParameter: (name) => parameters[name],
		getNode: () => ({ id: 'node', name: 'Relay', type: 'agentRelay', typeVersion: 1.1 }),
		getCredentials: async () => ({ url: 'https://relay.example' }),
		helpers: { httpRequestWithAuthentication: async () => answer },
	});
}

const AGENTS = [
	{ name: 'plain' },
	{ name: 'typed', parameters_schema: { properties: { a: { type: 'integer' } } } },
];

test('the fields are those of the agent that is chosen', async () => {
	const typed = await loaded({ agentName: 'typed' });
	assert.deepEqual(
		typed.fields.map(({ id, type }) => [id, type]),
		[['a', 'number']],
	);
	const none = await loaded({ agentName: 'plain' });
	assert.deepEqual(none.fields, []);
	assert.match(none.emptyFieldsNotice, /does not describe its parameters.*Using JSON/);
});

test('an agent that is not known takes no fields away, and says why there are none', async () => {
	const kept = [{ id: 'a', type: 'number' }];
	for (const agentName of [undefined, null, '', '={{ $json.agent }}', 'nobody']) {
		const { fields, emptyFieldsNotice } = await loaded({
			agentName,
			agentParameters: { schema: kept },
		});
		assert.deepEqual(fields, kept);
		assert.match(emptyFieldsNotice, /expression/);
		assert.deepEqual((await loaded({ agentName, agentParameters: null })).fields, []);
	}
	// The editor drops the fields if it is told that there are none, so an error is one.
	await assert.rejects(loaded({ agentName: 'typed' }, { statusCode: 503, body: {} }));
});

/** What a start of a node with these parameters sends as the agent's. */
async function sent(parameters, typeVersion = 1.1) {
	let body;
	const all = { agentName: 'typed', message: 'Hello', options: {}, ...parameters };
	await operations.start(
		{
			getNode: () => ({ id: 'node', name: 'Relay', type: 'agentRelay', typeVersion }),
			getNodeParameter(path, _, fallback) {
				const found = path.split('.').reduce((it, key) => it?.[key], all);
				return found === undefined ? fallback : found;
			},
			getWorkflowDataProxy: () => ({ $runIndex: 0 }),
			getWorkflow: () => ({ id: 'w' }),
			getExecutionId: () => '1',
			evaluateExpression: (expression) =>
				new Date(/'(.*)'/.exec(expression)[1] + 'Z').toISOString(),
			getCredentials: async () => ({ url: 'https://relay.example' }),
			helpers: {
				async httpRequestWithAuthentication(_, options) {
					body = options.body;
					return { statusCode: 202, body: {} };
				},
			},
		},
		0,
	);
	return body.parameters;
}

const mapped = (value, schema) =>
	sent({ agentParameters: { mappingMode: 'defineBelow', value, schema } });

test('each field is sent as its type, be it filled in, computed or from a model', async () => {
	for (const [type, value, right] of [
		['string', ' a ', ' a '],
		['string', 4711, '4711'],
		['number', '2', 2],
		['number', 2.5, 2.5],
		['number', 0, 0],
		['boolean', 'False', false],
		['boolean', true, true],
		['boolean', false, false],
		['object', '{"a": 1}', { a: 1 }],
		['object', { a: 1 }, { a: 1 }],
		['array', '[1]', [1]],
		['dateTime', '2026-01-31T09:00:00', '2026-01-31T09:00:00.000Z'],
		[undefined, '[1]', [1]],
		[undefined, '"1"', '1'],
		[undefined, 'one', 'one'],
		[undefined, [1], [1]],
	]) {
		const given = await mapped({ it: value }, [{ id: 'it', type }]);
		assert.deepEqual(given, { it: right }, `${type} ${value}`);
	}
	const options = [choice('1', 1), choice('true', true), choice('a')];
	for (const [value, right] of [
		[1, 1],
		['1', 1],
		['true', true],
		['b', 'b'],
	]) {
		const given = await mapped({ it: value }, [{ id: 'it', type: 'options', options }]);
		assert.deepEqual(given, { it: right });
	}
});

test('what is left empty is left out', async () => {
	const types = [
		'string',
		'number',
		'boolean',
		'object',
		'array',
		'dateTime',
		'options',
		undefined,
	];
	for (const type of types) {
		for (const empty of ['', null, undefined]) {
			assert.deepEqual(await mapped({ it: empty }, [{ id: 'it', type }]), {});
		}
	}
	assert.deepEqual(await mapped(null, []), {});
	assert.deepEqual(await mapped({ a: 1 }, null), { a: 1 });
	assert.deepEqual(await sent({}), {});
});

test('what a field cannot take is refused by its name', async () => {
	for (const [type, value] of [
		['number', 'two'],
		['number', ' '],
		['number', {}],
		['boolean', 'yes'],
		['boolean', 'constructor'],
		['object', '{'],
		['dateTime', 'tomorrow'],
	]) {
		await assert.rejects(mapped({ it: value }, [{ id: 'it', type }]), /it is (no|neither) /, type);
	}
});

test('JSON is sent as it is, and a node of version 1 has it among its options', async () => {
	const json = { specifyParameters: 'json', parametersJson: '{"a": 1}' };
	const others = {
		agentParameters: { value: { a: 2 }, schema: [] },
		options: { parameters: '{"a": 3}' },
	};
	assert.deepEqual(await sent({ ...json, ...others }), { a: 1 });
	assert.deepEqual(await sent({ ...json, ...others }, 1), { a: 3 });
	assert.deepEqual(await sent({}, 1), {});
	await assert.rejects(sent({ ...json, parametersJson: '{' }), /Parameters is no JSON/);
});

/** What n8n keeps of the parameters of a node, with defaults. */
function shown(parameters, typeVersion) {
	const of = { id: 'node', name: 'Relay', type: 'agentRelay', typeVersion, position: [0, 0] };
	return NodeHelpers.getNodeParameters(
		description.properties,
		parameters,
		true,
		false,
		{ ...of, parameters },
		description,
	);
}

test('a node that was saved before has what it had, and no more', () => {
	const before = {
		resource: 'execution',
		operation: 'startAndWait',
		agentName: 'echo',
		message: 'Hello',
		options: { parameters: '{"wait_seconds": 1}' },
	};
	assert.deepEqual(shown(before, 1), before);
	const { agentParameters, ...others } = shown({ ...before, options: {} }, 1.1);
	assert.deepEqual(others, { ...before, options: {}, specifyParameters: 'fields' });
	assert.deepEqual(agentParameters, { mappingMode: 'defineBelow', value: null });
	const json = shown({ ...before, specifyParameters: 'json' }, 1.1);
	assert.equal(json.parametersJson, '{}');
	assert.ok(!('agentParameters' in json));
	assert.equal(description.defaultVersion, Math.max(...description.version));
});

test('whoever chooses the agent by an expression is told about the fields', () => {
	const start = { resource: 'execution', operation: 'start', message: 'Hello', options: {} };
	const isTold = (agentName, more = {}) =>
		'agentByExpression' in shown({ ...start, agentName, ...more }, 1.1);
	assert.ok(isTold('={{ $json.agent }}'));
	assert.ok(!isTold('echo'));
	assert.ok(!isTold('={{ $json.agent }}', { specifyParameters: 'json' }));
	assert.ok(!isTold('={{ $json.agent }}', { operation: 'get' }));
});
