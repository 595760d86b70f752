import type {
	IDataObject,
	IExecuteFunctions,
	IHookFunctions,
	IHttpRequestMethods,
	ILoadOptionsFunctions,
	INodePropertyOptions,
	IWebhookFunctions,
	JsonObject,
} from 'n8n-workflow';
import { NodeApiError } from 'n8n-workflow';

type Context = IExecuteFunctions | IHookFunctions | ILoadOptionsFunctions | IWebhookFunctions;

/** What a request may have besides its path. */
export interface Request {
	body?: IDataObject;
	query?: IDataObject;
	headers?: IDataObject;
}

/** A refusal as agent-relay words it: application/problem+json, RFC 9457. */
interface Problem {
	title?: string;
	detail?: string;
	field?: string | null;
}

/** Asks agent-relay with the node's credential, and gives what it answers. */
export async function ask(
	context: Context,
	method: IHttpRequestMethods,
	path: string,
	request: Request = {},
): Promise<IDataObject> {
	const answer = await send(context, method, path, request);
	if (isRefusal(answer)) throw refused(context, answer);
	return (answer.body ?? {}) as IDataObject;
}

/** The same, but `undefined` for what is not there. */
export async function find(context: Context, path: string): Promise<IDataObject | undefined> {
	const answer = await send(context, 'GET', path, {});
	if (answer.statusCode === 404) return undefined;
	if (isRefusal(answer)) throw refused(context, answer);
	return answer.body as IDataObject;
}

/** Removes what may be gone already. */
export async function remove(context: Context, path: string): Promise<void> {
	const answer = await send(context, 'DELETE', path, {});
	if (isRefusal(answer) && answer.statusCode !== 404) throw refused(context, answer);
}

interface Answer {
	statusCode: number;
	body?: unknown;
}

async function send(
	context: Context,
	method: IHttpRequestMethods,
	path: string,
	{ body, query, headers }: Request,
): Promise<Answer> {
	const { url } = await context.getCredentials<{ url: string }>('agentRelayApi');
	const options = {
		method,
		url: url.replace(/\/+$/, '') + path,
		body,
		qs: query,
		headers,
		json: true,
		returnFullResponse: true,
		// A redirect would take the key along, to wherever it leads.
		disableFollowRedirect: true,
		// A refusal says more in its body than in its status.
		ignoreHttpStatusErrors: true,
	};
	try {
		return (await context.helpers.httpRequestWithAuthentication.call(
			context,
			'agentRelayApi',
			options,
		)) as Answer;
	} catch (error) {
		throw new NodeApiError(context.getNode(), error as JsonObject);
	}
}

/** A redirect is one, too: agent-relay gives none. */
function isRefusal({ statusCode }: Answer): boolean {
	return statusCode >= 300;
}

function refused(context: Context, { statusCode, body }: Answer): NodeApiError {
	const { title, detail, field } = (typeof body === 'object' && body ? body : {}) as Problem;
	return new NodeApiError(context.getNode(), (body ?? {}) as JsonObject, {
		httpCode: String(statusCode),
		message: detail ?? title ?? `agent-relay answers ${statusCode}`,
		description: field ? `The field is ${field}.` : title,
	});
}

/** The agents that the key may see, for a list to choose from. */
export async function getAgents(this: ILoadOptionsFunctions): Promise<INodePropertyOptions[]> {
	const { agents } = await ask(this, 'GET', '/v1/agents');
	return (agents as IDataObject[]).map((agent) => ({
		name: String(agent.name),
		value: String(agent.name),
		description: String(agent.description),
	}));
}

/** The same, where none need be chosen. */
export async function getAgentsOrAll(this: ILoadOptionsFunctions): Promise<INodePropertyOptions[]> {
	return [{ name: 'All Agents', value: '' }, ...(await getAgents.call(this))];
}
