import type {
	IDataObject,
	IExecuteFunctions,
	IHookFunctions,
	INodeExecutionData,
	INodeType,
	INodeTypeDescription,
	IWebhookFunctions,
	IWebhookResponseData,
	JsonObject,
} from 'n8n-workflow';
import {
	NodeApiError,
	NodeConnectionTypes,
	NodeOperationError,
	WAIT_INDEFINITELY,
} from 'n8n-workflow';

import { ask, getAgents } from '../shared/api';
import { getParameters } from './fields';
import * as operations from './operations';
import { properties } from './properties';

const ENDS = ['completed', 'failed', 'timeout', 'cancelled'];

export class AgentRelay implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Agent Relay',
		name: 'agentRelay',
		icon: {
			light: 'file:../../icons/agentRelay.svg',
			dark: 'file:../../icons/agentRelay.dark.svg',
		},
		group: ['transform'],
		version: [1, 1.1],
		defaultVersion: 1.1,
		subtitle: '={{ $parameter["operation"] + ": " + $parameter["resource"] }}',
		description: 'Run AI agents, and get a callback when they have ended',
		defaults: { name: 'Agent Relay' },
		usableAsTool: true,
		inputs: [NodeConnectionTypes.Main],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: 'agentRelayApi', required: true }],
		webhooks: [
			{
				name: 'default',
				httpMethod: 'POST',
				responseMode: 'onReceived',
				path: '',
				restartWebhook: true,
				isFullPath: true,
			},
		],
		properties,
	};

	methods = { loadOptions: { getAgents }, resourceMapping: { getParameters } };

	/**
	 * n8n registers no webhook that only resumes an execution, so it never calls these, and they have
	 * nothing to do. Its lint wants them of every node with a webhook.
	 */
	webhookMethods = {
		default: {
			async checkExists(this: IHookFunctions): Promise<boolean> {
				return true;
			},
			async create(this: IHookFunctions): Promise<boolean> {
				return true;
			},
			async delete(this: IHookFunctions): Promise<boolean> {
				return true;
			},
		},
	};

	async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
		const items = this.getInputData();
		const operation = this.getNodeParameter('operation', 0) as string;
		if (operation === 'startAndWait') return await startAndWait(this, items);
		const results: INodeExecutionData[] = [];
		for (let item = 0; item < items.length; item++) {
			try {
				const found = await run(this, item);
				const all = Array.isArray(found) ? found : [found];
				results.push(...all.map((json) => ({ json, pairedItem: { item } })));
			} catch (error) {
				if (!this.continueOnFail()) throw new NodeApiError(this.getNode(), error as JsonObject);
				results.push({ json: { error: (error as Error).message }, pairedItem: { item } });
			}
		}
		return [results];
	}

	/**
	 * Is called back when the agent has ended. The POST is only a hint: what has become of the
	 * agent is read with the node's own credential, and whatever is not about it wakes nobody.
	 */
	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		const { data } = this.getBodyData() as { data?: IDataObject };
		if (typeof data?.batch_id === 'string') return await resumeBatch(this, data.batch_id);
		const id = data?.execution_id;
		if (typeof id !== 'string') return {};
		const path = `/v1/executions/${encodeURIComponent(id)}/results`;
		const { metadata, ...results } = await ask(this, 'GET', path, {
			query: { include_metadata: true },
		});
		const { tags } = metadata as { tags: IDataObject };
		const isOurs = tags[operations.WAITER] === waiting(this);
		if (!isOurs || !ENDS.includes(String(results.status))) return {};
		return { workflowData: [[{ json: results, pairedItem: { item: 0 } }]] };
	}
}

/** The same when all of a batch have ended: each result belongs to the item that started it. */
async function resumeBatch(
	context: IWebhookFunctions,
	batch: string,
): Promise<IWebhookResponseData> {
	const id = encodeURIComponent(batch);
	const query = { batch_id: batch, limit: 1 };
	const { executions } = await ask(context, 'GET', '/v1/executions', { query });
	const [first] = executions as Array<{ tags?: IDataObject }>;
	const { status } = await ask(context, 'GET', `/v1/batches/${id}`);
	const isOurs = first?.tags?.[operations.WAITER] === waiting(context);
	if (!isOurs || status !== 'completed') return {};
	const results = await operations.getBatchResults(context, id);
	const items = results.map(({ index, ...json }) => ({
		json,
		pairedItem: { item: index as number },
	}));
	return { workflowData: [items] };
}

/** Which run of which node of which execution is waiting, as `place` said it when it began. */
function waiting(context: IWebhookFunctions): string {
	const { id, name, type } = context.getNode();
	const execution = context.evaluateExpression('{{ $execution.id }}');
	const known = Number(context.evaluateExpression(`{{ $node[${JSON.stringify(name)}].runIndex }}`));
	// n8n counts the run of a tool when it begins, and that of any other node when it ends.
	const run = type.endsWith('Tool') ? known : known + 1;
	return [context.getWorkflow().id, execution, id, run].join('-');
}

/** One operation on one item. */
async function run(context: IExecuteFunctions, item: number): Promise<IDataObject | IDataObject[]> {
	const resource = context.getNodeParameter('resource', item) as string;
	const operation = context.getNodeParameter('operation', item) as string;
	switch (`${resource}.${operation}`) {
		case 'agent.getAll':
			return await operations.getAgents(context);
		case 'execution.answer':
			return await operations.answer(context, item);
		case 'execution.cancel':
			return await operations.cancel(context, item);
		case 'execution.get':
			return await operations.get(context, item);
		case 'execution.getAll':
			return await operations.getExecutions(context, item);
		case 'execution.getResults':
			return await operations.getResults(context, item);
		case 'execution.rerun':
			return await operations.rerun(context, item);
		case 'execution.start':
			return await operations.start(context, item);
		default:
			throw new NodeOperationError(context.getNode(), `There is no operation ${operation}`, {
				itemIndex: item,
			});
	}
}

/** All items of an execution have one resume URL, which the first callback uses up: so many are one batch. */
async function startAndWait(
	context: IExecuteFunctions,
	items: INodeExecutionData[],
): Promise<INodeExecutionData[][]> {
	// So an AI Agent before version 3 calls its tools: it does not wait, takes what the tool was given
	// for what it gives, and keeps an error from the model.
	if ('cloneWith' in context) {
		const error =
			'This AI Agent cannot wait for a tool, so no agent was started: it needs an AI Agent of version 3 or later';
		return [[{ json: { error }, pairedItem: { item: 0 } }]];
	}
	if (items.length > operations.MOST_ITEMS) {
		throw new NodeOperationError(
			context.getNode(),
			`Start and Wait takes at most ${operations.MOST_ITEMS} items, and got ${items.length}`,
			{ description: 'Put the node into a Loop Over Items with a batch size of 100' },
		);
	}
	if (items.length === 1) {
		await operations.start(context, 0, operations.place(context));
	} else {
		const started = await operations.startBatch(context, items.length);
		// Where nothing runs there is nothing to wait for.
		if (started.every((item) => 'error' in item)) {
			const refused = started.map((json, item) => ({
				json: { status: 'refused', ...json },
				pairedItem: { item },
			}));
			if (context.continueOnFail()) return [refused];
			const { detail } = started[0]?.error as { detail: string };
			throw new NodeOperationError(context.getNode(), `No agent was started: ${detail}`);
		}
	}
	await context.putExecutionToWait(WAIT_INDEFINITELY);
	return [items];
}
