import type { IDataObject, IExecuteFunctions, IWebhookFunctions } from 'n8n-workflow';
import { jsonParse, NodeOperationError } from 'n8n-workflow';

import { ask } from '../shared/api';

/** The tag by which a node that waits knows its own execution again. */
export const WAITER = 'n8n_waiter';

/** How many agents one batch starts at most. */
export const MOST_ITEMS = 100;

/** How many executions one page has at most. */
const PAGE = 100;

/** Starts an agent for one item; with `waiter`, it calls back whoever waits for the workflow. */
export async function start(
	context: IExecuteFunctions,
	item: number,
	waiter?: string,
): Promise<IDataObject> {
	const { delaySeconds, idempotencyKey, parameters, priority, tags, timeoutSeconds } =
		context.getNodeParameter('options', item, {});
	const body: IDataObject = {
		agent_name: context.getNodeParameter('agentName', item),
		input_message: context.getNodeParameter('message', item),
		parameters: json(context, item, 'Parameters', parameters ?? {}),
		tags: json(context, item, 'Tags', tags ?? {}),
	};
	if (delaySeconds) body.delay_seconds = delaySeconds;
	if (priority) body.priority = priority;
	if (timeoutSeconds) body.timeout_seconds = timeoutSeconds;
	if (waiter) {
		body.callback_url = context.evaluateExpression('{{ $execution.resumeUrl }}', item);
		body.tags = { ...(body.tags as IDataObject), [WAITER]: waiter };
	}
	const key = String(idempotencyKey || `${place(context)}-${item}`);
	return await ask(context, 'POST', '/v1/executions', {
		body,
		headers: { 'idempotency-key': key },
	});
}

/** Starts an agent for each item, as one batch that calls back whoever waits for the workflow. */
export async function startBatch(
	context: IExecuteFunctions,
	items: number,
): Promise<IDataObject[]> {
	const waiter = place(context);
	const { delaySeconds, idempotencyKey, priority, timeoutSeconds } = context.getNodeParameter(
		'options',
		0,
		{},
	);
	const start = (item: number) => {
		const { parameters, tags } = context.getNodeParameter('options', item, {});
		return {
			agent_name: context.getNodeParameter('agentName', item),
			input_message: context.getNodeParameter('message', item),
			parameters: json(context, item, 'Parameters', parameters ?? {}),
			tags: json(context, item, 'Tags', tags ?? {}),
		};
	};
	const body: IDataObject = {
		items: Array.from({ length: items }, (_, item) => start(item)),
		tags: { [WAITER]: waiter },
		callback_url: context.evaluateExpression('{{ $execution.resumeUrl }}', 0),
	};
	if (delaySeconds) body.delay_seconds = delaySeconds;
	if (priority) body.priority = priority;
	if (timeoutSeconds) body.timeout_seconds = timeoutSeconds;
	const accepted = await ask(context, 'POST', '/v1/batches', {
		body,
		headers: { 'idempotency-key': String(idempotencyKey || waiter) },
	});
	return accepted.items as IDataObject[];
}

/** What came of each item of a batch, in their order. */
export async function getBatchResults(
	context: IWebhookFunctions,
	batch: string,
): Promise<IDataObject[]> {
	const found: IDataObject[] = [];
	const query: IDataObject = {};
	do {
		const page = await ask(context, 'GET', `/v1/batches/${batch}/results`, { query });
		found.push(...(page.results as IDataObject[]));
		query.cursor = page.next_cursor;
	} while (query.cursor);
	return found;
}

/** Where in which execution of which workflow this is, the same for each retry. */
export function place(context: IExecuteFunctions): string {
	const { $runIndex } = context.getWorkflowDataProxy(0);
	const node = context.getNode();
	return [context.getWorkflow().id, context.getExecutionId(), node.id, $runIndex].join('-');
}

export async function answer(context: IExecuteFunctions, item: number): Promise<IDataObject> {
	const body: IDataObject = {
		answer: json(context, item, 'Answer', context.getNodeParameter('answer', item)),
	};
	const question = context.getNodeParameter('questionId', item, '');
	if (question) body.question_id = question;
	return await ask(context, 'POST', `${execution(context, item)}/input`, { body });
}

export async function cancel(context: IExecuteFunctions, item: number): Promise<IDataObject> {
	return await ask(context, 'POST', `${execution(context, item)}/cancel`);
}

export async function rerun(context: IExecuteFunctions, item: number): Promise<IDataObject> {
	return await ask(context, 'POST', `${execution(context, item)}/rerun`, {
		headers: { 'idempotency-key': `${place(context)}-${item}` },
	});
}

export async function get(context: IExecuteFunctions, item: number): Promise<IDataObject> {
	return await ask(context, 'GET', execution(context, item));
}

export async function getResults(context: IExecuteFunctions, item: number): Promise<IDataObject> {
	return await ask(context, 'GET', `${execution(context, item)}/results`);
}

export async function getExecutions(
	context: IExecuteFunctions,
	item: number,
): Promise<IDataObject[]> {
	const isAll = context.getNodeParameter('returnAll', item);
	const limit = isAll ? Infinity : (context.getNodeParameter('limit', item) as number);
	const { created_after, created_before, ...filters } = context.getNodeParameter(
		'filters',
		item,
		{},
	);
	const query: IDataObject = { ...filters };
	if (created_after) query.created_after = time(context, item, 'Created After', created_after);
	if (created_before) query.created_before = time(context, item, 'Created Before', created_before);
	const found: IDataObject[] = [];
	do {
		query.limit = Math.min(PAGE, limit - found.length);
		const page = await ask(context, 'GET', '/v1/executions', { query });
		found.push(...(page.executions as IDataObject[]));
		query.cursor = page.next_cursor;
	} while (query.cursor && found.length < limit);
	return found;
}

export async function getAgents(context: IExecuteFunctions): Promise<IDataObject[]> {
	const { agents } = await ask(context, 'GET', '/v1/agents');
	return agents as IDataObject[];
}

/** The path of an execution. */
function execution(context: IExecuteFunctions, item: number): string {
	const id = context.getNodeParameter('executionId', item) as string;
	return `/v1/executions/${encodeURIComponent(id)}`;
}

/** A time as the API takes it. One without a zone is of the workflow's. */
function time(context: IExecuteFunctions, item: number, field: string, value: unknown): string {
	const text = value instanceof Date ? value.toISOString() : String(value).trim().replace(' ', 'T');
	const isTime = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:?\d\d)?)?$/.test(text);
	const expression = `{{ DateTime.fromISO('${text}').toUTC().toISO() }}`;
	const known = isTime ? context.evaluateExpression(expression, item) : null;
	if (typeof known !== 'string') {
		throw new NodeOperationError(context.getNode(), `${field} is no time`, { itemIndex: item });
	}
	return known;
}

/** What a field of JSON holds, be it text or an expression's value. */
function json(context: IExecuteFunctions, item: number, field: string, value: unknown) {
	if (typeof value !== 'string') return value as IDataObject;
	try {
		return jsonParse<IDataObject>(value);
	} catch {
		throw new NodeOperationError(context.getNode(), `${field} is no JSON`, { itemIndex: item });
	}
}
