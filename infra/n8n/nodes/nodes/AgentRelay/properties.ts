import type { INodeProperties } from 'n8n-workflow';

const STARTS = ['start', 'startAndWait'];

/** Shown for these operations on executions. */
const on = (...operation: string[]) => ({ show: { resource: ['execution'], operation } });

/** Since this version a node has the agent's parameters as fields. Before, they are JSON among its options. */
const WITH_FIELDS = { _cnd: { gte: 1.1 } };

/** Shown for starts whose parameters are given so. */
const withFields = (how: string) => ({
	show: { ...on(...STARTS).show, '@version': [WITH_FIELDS], specifyParameters: [how] },
});

const resource: INodeProperties = {
	displayName: 'Resource',
	name: 'resource',
	type: 'options',
	noDataExpression: true,
	options: [
		{ name: 'Agent', value: 'agent' },
		{ name: 'Execution', value: 'execution' },
	],
	default: 'execution',
};

const agentOperation: INodeProperties = {
	displayName: 'Operation',
	name: 'operation',
	type: 'options',
	noDataExpression: true,
	displayOptions: { show: { resource: ['agent'] } },
	options: [
		{
			name: 'Get Many',
			value: 'getAll',
			description: 'List the agents that your key may view',
			action: 'Get many agents',
		},
	],
	default: 'getAll',
};

const executionOperation: INodeProperties = {
	displayName: 'Operation',
	name: 'operation',
	type: 'options',
	noDataExpression: true,
	displayOptions: { show: { resource: ['execution'] } },
	options: [
		{
			name: 'Answer',
			value: 'answer',
			description: 'Answer the question of an agent',
			action: 'Answer an execution',
		},
		{
			name: 'Cancel',
			value: 'cancel',
			description: 'Cancel an execution that has not ended',
			action: 'Cancel an execution',
		},
		{
			name: 'Get',
			value: 'get',
			description: 'Get the status of an execution',
			action: 'Get an execution',
		},
		{
			name: 'Get Many',
			value: 'getAll',
			description: 'List your executions, newest first',
			action: 'Get many executions',
		},
		{
			name: 'Get Results',
			value: 'getResults',
			description: 'Read the results of an execution',
			action: 'Get the results of an execution',
		},
		{
			name: 'Rerun',
			value: 'rerun',
			description: 'Start an execution again, with the same input',
			action: 'Rerun an execution',
		},
		{
			name: 'Start',
			value: 'start',
			description: 'Start an agent, and continue at once',
			action: 'Start an execution',
		},
		{
			name: 'Start and Wait',
			value: 'startAndWait',
			description: 'Start an agent, and continue with its results when it has ended',
			action: 'Start an execution and wait for its end',
		},
	],
	default: 'start',
};

const ofStarts: INodeProperties[] = [
	{
		displayName: 'Agent Name or ID',
		name: 'agentName',
		type: 'options',
		typeOptions: { loadOptionsMethod: 'getAgents' },
		default: '',
		required: true,
		displayOptions: on(...STARTS),
		description:
			'Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>',
	},
	{
		displayName: 'Message',
		name: 'message',
		type: 'string',
		typeOptions: { rows: 4 },
		default: '',
		required: true,
		displayOptions: on(...STARTS),
		description: 'What to say to the agent',
	},
	{
		displayName: 'Specify Parameters',
		name: 'specifyParameters',
		type: 'options',
		noDataExpression: true,
		options: [
			{
				name: 'Using Fields Below',
				value: 'fields',
				description: 'One field for each parameter that the agent describes',
			},
			{
				name: 'Using JSON',
				value: 'json',
				description: 'All parameters as one JSON object',
			},
		],
		default: 'fields',
		displayOptions: { show: { ...on(...STARTS).show, '@version': [WITH_FIELDS] } },
		description: 'How to give the agent its parameters',
	},
	{
		displayName:
			'The agent is chosen by an expression. Its parameters are shown as fields as soon as n8n knows what the expression comes to, which is after a run of the node before this one. With agents that differ in their parameters, choose <b>Using JSON</b>.',
		name: 'agentByExpression',
		type: 'notice',
		default: '',
		// n8n shows what depends on an expression, whatever it comes to. No agent has this name.
		displayOptions: { show: { ...withFields('fields').show, agentName: ['='] } },
	},
	{
		displayName: 'Parameters',
		name: 'agentParameters',
		type: 'resourceMapper',
		noDataExpression: true,
		default: { mappingMode: 'defineBelow', value: null },
		typeOptions: {
			loadOptionsDependsOn: ['agentName'],
			resourceMapper: {
				resourceMapperMethod: 'getParameters',
				mode: 'add',
				valuesLabel: 'Parameters',
				fieldWords: { singular: 'parameter', plural: 'parameters' },
				// Optional ones are added by hand: n8n would send each switch as `false` otherwise.
				addAllFields: false,
				multiKeyMatch: false,
				supportAutoMap: false,
			},
		},
		displayOptions: { ...withFields('fields'), hide: { agentName: [''] } },
	},
	{
		displayName: 'Parameters (JSON)',
		name: 'parametersJson',
		type: 'json',
		default: '{}',
		displayOptions: withFields('json'),
		description: 'Settings that the agent understands, as a JSON object',
	},
	{
		displayName: 'Options',
		name: 'options',
		type: 'collection',
		placeholder: 'Add option',
		default: {},
		displayOptions: on(...STARTS),
		options: [
			{
				displayName: 'Delay (Seconds)',
				name: 'delaySeconds',
				type: 'number',
				typeOptions: { minValue: 0, maxValue: 2592000 },
				default: 0,
				description:
					'How long to wait before the agent is started, at most 30 days. In Start and Wait it must be the same for all items.',
			},
			{
				displayName: 'Idempotency Key',
				name: 'idempotencyKey',
				type: 'string',
				default: '',
				description:
					'A start with the same key is made once only. Start and Wait starts several items with one key: the one that all have, or else one made of the keys of all. It does not recognize a single item among others. If it is left out, a key is made of the workflow, its execution, this node, the run and the item, so that no retry starts twice.',
			},
			{
				displayName: 'Parameters',
				name: 'parameters',
				type: 'json',
				default: '{}',
				displayOptions: { show: { '@version': [1] } },
				description: 'Settings that the agent understands, as a JSON object',
			},
			{
				displayName: 'Priority (Seconds)',
				name: 'priority',
				type: 'number',
				typeOptions: { minValue: 0, maxValue: 3600 },
				default: 0,
				description:
					'Where executions wait for the agent: how much earlier this one counts as started, at most an hour. In Start and Wait it must be the same for all items.',
			},
			{
				displayName: 'Tags',
				name: 'tags',
				type: 'json',
				default: '{}',
				description: 'Labels of the execution, as a JSON object of texts',
			},
			{
				displayName: 'Timeout (Seconds)',
				name: 'timeoutSeconds',
				type: 'number',
				typeOptions: { minValue: 1 },
				default: 3600,
				description:
					'How long the agent may run. Then it is stopped, with the status timeout. In Start and Wait it must be the same for all items.',
			},
		],
	},
];

const ofOthers: INodeProperties[] = [
	{
		displayName: 'Execution ID',
		name: 'executionId',
		type: 'string',
		default: '={{ $json.execution_id }}',
		required: true,
		displayOptions: on('answer', 'cancel', 'get', 'getResults', 'rerun'),
	},
	{
		displayName: 'Answer',
		name: 'answer',
		type: 'json',
		default: '{}',
		required: true,
		displayOptions: on('answer'),
		description: 'Any JSON that fits the schema of the question',
	},
	{
		displayName: 'Question ID',
		name: 'questionId',
		type: 'string',
		default: '',
		displayOptions: on('answer'),
		description: 'Which question to answer. Needed when several are open.',
	},
	{
		displayName: 'Return All',
		name: 'returnAll',
		type: 'boolean',
		default: false,
		displayOptions: on('getAll'),
		description: 'Whether to return all results or only up to a given limit',
	},
	{
		displayName: 'Limit',
		name: 'limit',
		type: 'number',
		typeOptions: { minValue: 1 },
		default: 50,
		displayOptions: { show: { ...on('getAll').show, returnAll: [false] } },
		description: 'Max number of results to return',
	},
	{
		displayName: 'Filters',
		name: 'filters',
		type: 'collection',
		placeholder: 'Add filter',
		default: {},
		displayOptions: on('getAll'),
		options: [
			{
				displayName: 'Agent Name or ID',
				name: 'agent_name',
				type: 'options',
				typeOptions: { loadOptionsMethod: 'getAgents' },
				default: '',
				description:
					'Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>',
			},
			{
				displayName: 'Created After',
				name: 'created_after',
				type: 'dateTime',
				default: '',
				description: 'Only executions created at this time or later',
			},
			{
				displayName: 'Created Before',
				name: 'created_before',
				type: 'dateTime',
				default: '',
				description: 'Only executions created before this time',
			},
			{
				displayName: 'Status',
				name: 'status',
				type: 'options',
				options: [
					{ name: 'Cancelled', value: 'cancelled' },
					{ name: 'Completed', value: 'completed' },
					{ name: 'Failed', value: 'failed' },
					{ name: 'Input Required', value: 'input_required' },
					{ name: 'Queued', value: 'queued' },
					{ name: 'Running', value: 'running' },
					{ name: 'Scheduled', value: 'scheduled' },
					{ name: 'Timeout', value: 'timeout' },
				],
				default: 'running',
			},
			{
				displayName: 'Tag',
				name: 'tag',
				type: 'string',
				default: '',
				placeholder: 'e.g. order=4711',
				description: 'Only executions with this tag, as key=value',
			},
		],
	},
];

export const properties: INodeProperties[] = [
	resource,
	agentOperation,
	executionOperation,
	...ofStarts,
	...ofOthers,
];
