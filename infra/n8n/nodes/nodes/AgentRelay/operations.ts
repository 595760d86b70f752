import { createHash } from 'node:crypto';
import type { IDataObject, IExecuteFunctions, IWebhookFunctions } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';

import { ask } from '../shared/api';
import { json, mapped, time } from './values';

/** The tag by which a node that waits knows its own execution again. */
export const WAITER = 'n8n_waiter';

/** How many agents one batch starts at most. */
export const MOST_ITEMS = 100;

/** The options that a batch has once for all its items, by what the node calls them. */
const OF_BATCH = {
	delaySeconds: 'Delay (Seconds)',
	priority: 'Priority (Seconds)',
	timeoutSeconds: 'Timeout (Seconds)',
};

/** How many executions one page has at most. */
const PAGE = 100;

/** Starts an agent for one item; with `waiter`, it calls back whoever waits for the workflow. */
export async function start(
	context: IExecuteFunctions,
	item: number,
	waiter?: string,
): Promise<IDataObject> {
	const { delaySeconds, idempotencyKey, priority, timeoutSeconds } = context.getNodeParameter(
		'options',
		item,
		{},
	);
	const body = input(context, item);
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
	const options = Array.from({ length: items }, (_, item) =>
		context.getNodeParameter('options', item, {}),
	);
	const { delaySeconds, priority, timeoutSeconds } = common(context, options);
	const body: IDataObject = {
		items: Array.from({ length: items }, (_, item) => input(context, item)),
		tags: { [WAITER]: waiter },
		callback_url: context.evaluateExpression('{{ $execution.resumeUrl }}', 0),
	};
	if (delaySeconds) body.delay_seconds = delaySeconds;
	if (priority) body.priority = priority;
	if (timeoutSeconds) body.timeout_seconds = timeoutSeconds;
	const accepted = await ask(context, 'POST', '/v1/batches', {
		body,
		headers: { 'idempotency-key': batchKey(waiter, options) },
	});
	return accepted.items as IDataObject[];
}

/** What all items have in common, of that which a batch has only once. */
function common(context: IExecuteFunctions, options: IDataObject[]): IDataObject {
	const [first = {}] = options;
	for (const [name, label] of Object.entries(OF_BATCH)) {
		// What is empty is not sent.
		const value = (of: IDataObject) => String(of[name] || '');
		const other = options.findIndex((it) => value(it) !== value(first));
		if (other < 0) continue;
		throw new NodeOperationError(
			context.getNode(),
			`${label} must be the same for all items: Start and Wait starts them together`,
			{
				itemIndex: other,
				description:
					'For a value of each item, put the node into a Loop Over Items with a batch size of 1',
			},
		);
	}
	return first;
}

/** The one key of a batch: that of all its items, or one made of theirs where they differ. */
function batchKey(waiter: string, options: IDataObject[]): string {
	const own = options.map(({ idempotencyKey }) => String(idempotencyKey || ''));
	const [first] = own;
	if (own.every((key) => key === first)) return first || waiter;
	const keys = own.map((key, item) => key || `${waiter}-${item}`);
	return `n8n-items-${createHash('sha256').update(JSON.stringify(keys)).digest('hex')}`;
}

/** What one item gives its agent. */
function input(context: IExecuteFunctions, item: number): IDataObject {
	const { tags } = context.getNodeParameter('options', item, {});
	return {
		agent_name: context.getNodeParameter('agentName', item),
		input_message: context.getNodeParameter('message', item),
		parameters: parameters(context, item),
		tags: json(context, item, 'Tags', tags ?? {}),
	};
}

/** The agent's parameters: a node of version 1 has them as an option, a later one as fields or as JSON. */
function parameters(context: IExecuteFunctions, item: number): IDataObject {
	if (context.getNode().typeVersion < 1.1) {
		const options = context.getNodeParameter('options', item, {});
		return json(context, item, 'Parameters', options.parameters ?? {});
	}
	if (context.getNodeParameter('specifyParameters', item, 'fields') === 'fields') {
		return mapped(context, item, 'agentParameters');
	}
	return json(context, item, 'Parameters', context.getNodeParameter('parametersJson', item, '{}'));
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
