import type { IDataObject, IExecuteFunctions, ResourceMapperField } from 'n8n-workflow';
import { jsonParse, NodeOperationError } from 'n8n-workflow';

/** What a field of JSON holds, be it text or an expression's value. */
export function json(context: IExecuteFunctions, item: number, field: string, value: unknown) {
	if (typeof value !== 'string') return value as IDataObject;
	try {
		return jsonParse<IDataObject>(value);
	} catch {
		throw wrong(context, item, `${field} is no JSON`);
	}
}

/** A time as the API takes it. One without a zone is of the workflow's. */
export function time(
	context: IExecuteFunctions,
	item: number,
	field: string,
	value: unknown,
): string {
	const text = value instanceof Date ? value.toISOString() : String(value).trim().replace(' ', 'T');
	const isTime = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:?\d\d)?)?$/.test(text);
	const expression = `{{ DateTime.fromISO('${text}').toUTC().toISO() }}`;
	const known = isTime ? context.evaluateExpression(expression, item) : null;
	if (typeof known !== 'string') throw wrong(context, item, `${field} is no time`);
	return known;
}

/** What the fields of a resource mapper hold, each as the JSON that its agent takes. Empty ones are left out. */
export function mapped(context: IExecuteFunctions, item: number, mapper: string): IDataObject {
	const raw = { rawExpressions: true };
	const schema = context.getNodeParameter(`${mapper}.schema`, item, [], raw);
	const fields = new Map(
		(schema as ResourceMapperField[] | null)?.map((field) => [field.id, field]),
	);
	// n8n's own conversion makes 0 of an empty number.
	const own = { skipValidation: true };
	const values = context.getNodeParameter(`${mapper}.value`, item, {}, own) as IDataObject | null;
	const isEmpty = (value: unknown) => value === undefined || value === null || value === '';
	return Object.fromEntries(
		Object.entries(values ?? {})
			.filter(([, value]) => !isEmpty(value))
			.map(([name, value]) => [name, converted(context, item, name, value, fields.get(name))]),
	) as IDataObject;
}

/** One value as the type of its field. */
function converted(
	context: IExecuteFunctions,
	item: number,
	name: string,
	value: unknown,
	field?: ResourceMapperField,
): unknown {
	const text = typeof value === 'string' ? value.trim() : undefined;
	switch (field?.type) {
		case 'string':
			return typeof value === 'object' ? value : String(value);
		case 'number': {
			const number = text ? Number(text) : value;
			if (Number.isFinite(number)) return number;
			throw wrong(context, item, `${name} is no number`);
		}
		case 'boolean': {
			const truth = text ? { true: true, false: false }[text.toLowerCase()] : value;
			if (typeof truth === 'boolean') return truth;
			throw wrong(context, item, `${name} is neither true nor false`);
		}
		case 'dateTime':
			return time(context, item, name, value);
		case 'options': {
			const chosen = field.options?.find((option) => String(option.value) === String(value));
			return chosen ? chosen.value : value;
		}
		case 'array':
		case 'object':
			return json(context, item, name, value);
		default:
			return text === undefined ? value : jsonOrText(value as string);
	}
}

function jsonOrText(text: string): unknown {
	try {
		return jsonParse(text);
	} catch {
		return text;
	}
}

function wrong(context: IExecuteFunctions, item: number, message: string): NodeOperationError {
	return new NodeOperationError(context.getNode(), message, { itemIndex: item });
}
