import type {
	IAuthenticateGeneric,
	Icon,
	ICredentialTestRequest,
	ICredentialType,
	INodeProperties,
} from 'n8n-workflow';

export class AgentRelayApi implements ICredentialType {
	name = 'agentRelayApi';

	displayName = 'Agent Relay API';

	icon: Icon = { light: 'file:../icons/agentRelay.svg', dark: 'file:../icons/agentRelay.dark.svg' };

	documentationUrl = 'https://www.npmjs.com/package/n8n-nodes-agent-relay';

	properties: INodeProperties[] = [
		{
			displayName: 'URL',
			name: 'url',
			type: 'string',
			default: '',
			required: true,
			placeholder: 'https://abc123.execute-api.eu-west-1.amazonaws.com/live',
			description: 'The address of the API: the output ApiUrl of the stack',
		},
		{
			displayName: 'API Key',
			name: 'apiKey',
			type: 'string',
			typeOptions: { password: true },
			default: '',
			required: true,
			description: 'The key that the operator created for you. It begins with relay_.',
		},
	];

	authenticate: IAuthenticateGeneric = {
		type: 'generic',
		properties: { headers: { 'x-api-key': '={{$credentials.apiKey}}' } },
	};

	test: ICredentialTestRequest = {
		request: { baseURL: '={{$credentials.url.replace(/\\/+$/, "")}}', url: '/v1/agents' },
	};
}
