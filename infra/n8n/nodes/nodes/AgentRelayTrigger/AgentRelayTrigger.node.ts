import { createHash } from 'node:crypto';

import type {
	IDataObject,
	IHookFunctions,
	INodeType,
	INodeTypeDescription,
	IWebhookFunctions,
	IWebhookResponseData,
} from 'n8n-workflow';
import { NodeConnectionTypes } from 'n8n-workflow';

import { ask, find, getAgentsOrAll, remove } from '../shared/api';
import { withId } from './duplicates';
import type { SeenIds } from './duplicates';
import { isRecent, isSigned, looksSigned } from './signature';

const subscriptions = '/v1/subscriptions';

export class AgentRelayTrigger implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Agent Relay Trigger',
		name: 'agentRelayTrigger',
		icon: {
			light: 'file:../../icons/agentRelay.svg',
			dark: 'file:../../icons/agentRelay.dark.svg',
		},
		group: ['trigger'],
		version: 1,
		subtitle: '={{ $parameter["events"].join(", ") }}',
		description: 'Starts the workflow when an agent ends, reports or asks',
		defaults: { name: 'Agent Relay Trigger' },
		inputs: [],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: 'agentRelayApi', required: true }],
		webhooks: [
			{ name: 'default', httpMethod: 'POST', responseMode: 'onReceived', path: 'webhook' },
		],
		properties: [
			{
				displayName: 'Events',
				name: 'events',
				type: 'multiOptions',
				required: true,
				options: [
					{ name: 'Cancelled', value: 'execution.cancelled' },
					{ name: 'Completed', value: 'execution.completed' },
					{ name: 'Failed', value: 'execution.failed' },
					{ name: 'Input Required', value: 'execution.input_required' },
					{ name: 'Progress', value: 'execution.progress' },
					{ name: 'Running', value: 'execution.running' },
					{ name: 'Timeout', value: 'execution.timeout' },
				],
				default: ['execution.completed', 'execution.failed', 'execution.timeout'],
				description: 'Which events of your executions start the workflow',
			},
			{
				displayName: 'Agent Name or ID',
				name: 'agentName',
				type: 'options',
				typeOptions: { loadOptionsMethod: 'getAgentsOrAll' },
				default: '',
				description:
					'Whose events start the workflow. Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
			},
		],
	};

	methods = { loadOptions: { getAgentsOrAll } };

	webhookMethods = {
		default: {
			async checkExists(this: IHookFunctions): Promise<boolean> {
				const { id } = this.getWorkflowStaticData('node');
				if (!id) return false;
				const path = `${subscriptions}/${id as string}`;
				const found = await find(this, path);
				if (found?.disabled_at) {
					// n8n was away for days, and is back: another one takes its place.
					await remove(this, path);
					return false;
				}
				return found?.url === this.getNodeWebhookUrl('default');
			},

			async create(this: IHookFunctions): Promise<boolean> {
				const body: IDataObject = {
					url: this.getNodeWebhookUrl('default'),
					events: this.getNodeParameter('events') as string[],
				};
				const agent = this.getNodeParameter('agentName', '');
				if (agent) body.agent_name = agent;
				const { id } = await ask(this, 'POST', subscriptions, { body });
				this.getWorkflowStaticData('node').id = id;
				return true;
			},

			async delete(this: IHookFunctions): Promise<boolean> {
				const data = this.getWorkflowStaticData('node');
				if (data.id) await remove(this, `${subscriptions}/${data.id as string}`);
				delete data.id;
				delete data.heard;
				return true;
			},
		},
	};

	/** Starts the workflow once with what agent-relay has signed, and with nothing else. */
	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		const headers = this.getHeaderData();
		const text = (name: string) => headers[name] as string | undefined;
		const signed = {
			id: text('webhook-id'),
			timestamp: text('webhook-timestamp'),
			signature: text('webhook-signature'),
			body: this.getRequestObject().rawBody,
		};
		const now = Date.now();
		// Nobody makes us ask for secrets who does not even look like agent-relay.
		const isOurs =
			looksSigned(signed) && isRecent(signed, now) && isSigned(signed, await secrets(this, now));
		if (!isOurs) {
			this.getResponseObject().status(401).json({ message: 'The signature is not right' });
			return { noWebhookResponse: true };
		}
		if (isRepeated(this, signed.id as string, now)) {
			// As good as the first time: what sends it is not to try again.
			this.getResponseObject().status(200).json({ message: 'This event was already received' });
			return { noWebhookResponse: true };
		}
		const { type, timestamp, data } = this.getBodyData() as IDataObject & { data?: IDataObject };
		if (type === 'subscription.disabled') {
			// Of another subscription, and none of the events that were asked for.
			this.getResponseObject().status(200).json({ message: 'This starts no workflow' });
			return { noWebhookResponse: true };
		}
		const json = { type, timestamp, webhook_id: signed.id, ...data };
		return { workflowData: [[{ json }]] };
	}
}

/** What was received here, by node: of requests that come together, each has its own copy of the static data. */
const here = new Map<string, SeenIds>();

/** Whether this event has started the workflow already; from now on it has. */
function isRepeated(context: IWebhookFunctions, id: string, now: number): boolean {
	const data = context.getWorkflowStaticData('node');
	const node = `${context.getWorkflow().id}/${context.getNode().id}`;
	// Workflows store it as `heard`.
	const stored = { ...(data.heard as SeenIds | undefined), ...here.get(node) };
	const seen = withId(stored, id, now);
	if (!seen) return true;
	here.set(node, seen);
	data.heard = seen;
	return false;
}

const KEPT_MS = 60 * 1000;
/** The same where they could not be had: whoever sends much makes us ask little. */
const KEPT_FAILED_MS = 5 * 1000;

/** The secrets of each subscription, and until when they are kept. */
const kept = new Map<string, { until: number; secrets: Promise<string[]> }>();

/** What signs now, and what did until lately; for a minute as it was, since a new secret signs beside the old. */
async function secrets(context: IWebhookFunctions, now: number): Promise<string[]> {
	const { id } = context.getWorkflowStaticData('node');
	// Who has not subscribed is sent nothing.
	if (!id) return [];
	const credential = await context.getCredentials<{ url: string; apiKey: string }>('agentRelayApi');
	const whose = createHash('sha256')
		.update(`${credential.url}\n${credential.apiKey}\n${id as string}`)
		.digest('hex');
	const known = kept.get(whose);
	if (known && now < known.until) return await known.secrets;
	for (const [other, { until }] of kept) if (until <= now) kept.delete(other);
	const entry = { until: now + KEPT_MS, secrets: readSecrets(context, id as string) };
	kept.set(whose, entry);
	entry.secrets.catch(() => (entry.until = now + KEPT_FAILED_MS));
	return await entry.secrets;
}

async function readSecrets(context: IWebhookFunctions, id: string): Promise<string[]> {
	const { secret, previous_secret: previous } = await ask(
		context,
		'GET',
		`${subscriptions}/${id}/secret`,
	);
	return [secret, previous].filter((it): it is string => typeof it === 'string');
}
