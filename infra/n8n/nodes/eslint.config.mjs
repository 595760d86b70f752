import { config } from '@n8n/node-cli/eslint';

export default [
	...config,
	{
		files: ['package.json'],
		rules: {
			// It has the licence of the project that it is a part of, and no homepage before it is published.
			'n8n-nodes-base/community-package-json-license-not-default': 'off',
			'@n8n/community-nodes/require-homepage': 'off',
		},
	},
	{
		files: ['nodes/AgentRelay/AgentRelay.node.ts'],
		rules: {
			// Its webhook resumes an execution: nobody registers that.
			'@n8n/community-nodes/webhook-lifecycle-complete': 'off',
		},
	},
];
