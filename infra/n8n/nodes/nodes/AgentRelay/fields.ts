import type {
	FieldType,
	IDataObject,
	ILoadOptionsFunctions,
	INodePropertyOptions,
	ResourceMapperField,
	ResourceMapperFields,
} from 'n8n-workflow';

import { ask } from '../shared/api';

/** How deep references lead to each other at most. */
const DEEPEST = 10;

/** n8n names a field by `value["…"]`, and takes what begins with `=` for an expression. */
const NAME = /^[^="[\]\\][^"[\]\\]*$/;

/** How long a field's label may be. */
const LONGEST_LABEL = 100;

const NO_FIELDS =
	'This agent does not describe its parameters. To give it some, choose <b>Using JSON</b> above.';
const NO_AGENT =
	'The fields are those of the agent, which is not known yet. If its name is an expression, run the node before this one, and open this node again, or choose <b>Using JSON</b> above.';

/** The parameters of the agent that is chosen, as fields of a resource mapper. */
export async function getParameters(this: ILoadOptionsFunctions): Promise<ResourceMapperFields> {
	const name = this.getCurrentNodeParameter('agentName');
	const { agents } = await ask(this, 'GET', '/v1/agents');
	const agent = (agents as IDataObject[]).find((it) => it.name === name);
	if (!agent) {
		// The editor drops the values of fields that are no more: so what it has stays.
		const mapper = this.getCurrentNodeParameter('agentParameters') as { schema?: unknown };
		return { fields: list(mapper?.schema) as ResourceMapperField[], emptyFieldsNotice: NO_AGENT };
	}
	return { fields: fieldsOf(agent.parameters_schema), emptyFieldsNotice: NO_FIELDS };
}

/** A field for each property of a JSON Schema. What n8n has no field for is a field of JSON. */
export function fieldsOf(whole: unknown): ResourceMapperField[] {
	const root = members(whole);
	const { properties, required } = resolved(root, root);
	return Object.entries(members(properties))
		.filter(([name]) => NAME.test(name))
		.map(([name, property]) => {
			const schema = resolved(property, root);
			return {
				id: name,
				displayName: label(name, schema),
				required: list(required).includes(name),
				defaultMatch: false,
				canBeUsedToMatch: false,
				display: true,
				...kind(schema),
				...preset(schema.default),
			};
		});
}

/** What a schema comes to: without references, and without `null` as an alternative. */
function resolved(part: unknown, root: IDataObject, depth = 0): IDataObject {
	const schema = members(part);
	if (depth > DEEPEST) return {};
	const { $ref, ...others } = schema;
	if (typeof $ref === 'string') {
		return { ...resolved(referred(root, $ref), root, depth + 1), ...others };
	}
	for (const key of ['allOf', 'anyOf', 'oneOf']) {
		const [first, ...more] = list(schema[key])
			.map(members)
			.filter(({ type }) => type !== 'null');
		if (first && more.length === 0) {
			const around = Object.fromEntries(Object.entries(schema).filter(([name]) => name !== key));
			return resolved({ ...first, ...around }, root, depth + 1);
		}
	}
	return schema;
}

/** What a reference within the schema leads to: `#/$defs/Colour`. */
function referred(root: IDataObject, reference: string): unknown {
	if (!reference.startsWith('#/')) return {};
	return reference
		.slice(2)
		.split('/')
		.map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
		.reduce<unknown>((found, key) => members(found)[key], root);
}

/** n8n describes a field only by its label. */
function label(name: string, { title, description }: IDataObject): string {
	const hint = [title, description].find((it) => typeof it === 'string' && it.trim() !== '');
	if (hint === undefined || hint === name) return name;
	const text = `${name}: ${String(hint).trim().replace(/\s+/g, ' ')}`;
	return text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL - 1)}…` : text;
}

/** Which field shows it. One without a type takes JSON, or else a text. */
function kind(schema: IDataObject): { type?: FieldType; options?: INodePropertyOptions[] } {
	const options = choices(schema);
	if (options) return { type: 'options', options };
	const named = Array.isArray(schema.type) ? schema.type : [schema.type];
	const types = new Set(named.filter((it) => it !== 'null'));
	if (types.delete('integer')) types.add('number');
	const [type] = types.size === 1 ? types : [];
	switch (type) {
		case 'string':
			return { type: schema.format === 'date-time' ? 'dateTime' : 'string' };
		case 'number':
		case 'boolean':
		case 'object':
		case 'array':
			return { type };
		default:
			if (types.size > 1) return {};
			if (schema.properties) return { type: 'object' };
			return schema.items ? { type: 'array' } : {};
	}
}

/** The values that are allowed, if all of them can be chosen from a list. */
function choices(schema: IDataObject): INodePropertyOptions[] | undefined {
	const values = 'const' in schema ? [schema.const] : schema.enum;
	const all: IDataObject[] = Array.isArray(values)
		? values.map((value) => ({ const: value as IDataObject }))
		: list(schema.oneOf ?? schema.anyOf).map(members);
	const options = all
		.filter((it) => it.const !== null && it.type !== 'null')
		.map((it) => ({ name: String(it.title ?? it.const), value: it.const }));
	const can = options.length > 0 && options.every(({ value }) => isPlain(value));
	return can ? (options as INodePropertyOptions[]) : undefined;
}

/** What a field begins with. */
function preset(value: unknown): { defaultValue?: string | number | boolean } {
	if (value === undefined || value === null) return {};
	const shown = typeof value === 'object' ? JSON.stringify(value) : value;
	return isPlain(shown) ? { defaultValue: shown } : {};
}

/** Whether n8n keeps it as it is: a text that begins with `=` it would run as an expression of its own. */
function isPlain(value: unknown): value is string | number | boolean {
	if (typeof value === 'string') return !value.startsWith('=');
	return typeof value === 'number' || typeof value === 'boolean';
}

function members(value: unknown): IDataObject {
	const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
	return isObject ? (value as IDataObject) : {};
}

function list(value: unknown): unknown[] {
	return Array.isArray(value) ? value : [];
}
