/** The agents, and a form that starts each. */

import { html } from "./lit-html.js";
import { get, may, starter } from "./api.js";
import { duration } from "./format.js";
import { entries, object, pretty, within } from "./json.js";
import { pairs, schemaForm, submitForm } from "./schema-form.js";
import { badge, block, emptyState, facts, href, needs, table, tag } from "./ui.js";

const MESSAGE = JSON.stringify({ type: "string", title: "Message" });
const MORE = JSON.stringify({
	type: "object",
	properties: {
		tags: { type: "array", items: { type: "string" }, title: "Tags", description: "Up to 10, each as key=value." },
		delay_seconds: { type: "integer", title: "Delay in seconds", minimum: 0, maximum: 2_592_000 },
		priority: { type: "integer", title: "Priority", description: "A head start in seconds, where runs wait for a limit.", minimum: 0, maximum: 3_600 },
		callback_url: { type: "string", format: "uri", title: "Callback URL", description: "Gets a signed POST when the run ends." },
	},
});

/** @type {Is.withAgents} */
function withAgents(page, view) {
	let list = "";
	page.poll(async () => {
		list = within((await get("v1/agents", page.signal)).text, "agents") ?? "[]";
	});
	return () => html`${page.state(list)} ${list ? view(list) : ""}`;
}

/** What both views show of an agent. @param {Agent} agent */
const shown = ({ average_execution_time: seconds, cost_estimate: dollars, max_concurrent: all, max_concurrent_per_user: own, paused }) => ({
	average: seconds === null ? "–" : duration(seconds * 1_000),
	cost: dollars === null ? "–" : `$${Number(dollars.toPrecision(2))}`,
	limits: [all != null && `${all} at once`, own != null && `${own} per user`].filter(Boolean).join(", ") || "–",
	state: paused ? badge("paused") : "",
});

/** @type {Opener} */
export function agentsView(page) {
	const row = (/** @type {Agent} */ agent) => {
		const { average, cost, limits, state } = shown(agent);
		return html`<tr>
			<th scope="row"><a class="row" href=${href(["agents", agent.name])}>${agent.name}</a> ${state}</th>
			<td class="message">${agent.description}</td>
			<td>${agent.version}</td>
			<td class="number">${average}</td>
			<td class="number">${cost}</td>
			<td>${limits}</td>
		</tr>`;
	};
	const draw = withAgents(page, (list) =>
		list === "[]"
			? emptyState("There are no agents for you.", html`An operator registers agents with <code>relayctl agents put</code>.`)
			: table("Agents", ["Agent", "Description", "Version", "#Average time", "#Cost per run", "Limits"], JSON.parse(list).map(row), "wide"),
	);
	return () => html`<h1>Agents</h1>${draw()}`;
}

/** @type {Opener} */
export function agentView(page) {
	/** @type {ReturnType<typeof startForm> | undefined} */
	let form;
	const draw = withAgents(page, (list) => {
		const text = entries(list).find(([, it]) => JSON.parse(it).name === page.id)?.[1];
		if (!text) return emptyState("There is no such agent.", html`Or it is not active, or not for you. See <a href="#/agents">all agents</a>.`);
		const agent = /** @type {Agent} */ (JSON.parse(text));
		const { average, cost, limits, state } = shown(agent);
		const schema = within(text, "parameters_schema");
		form ??= startForm(agent.name, schema, page.signal);
		return html`
			<p class="lead">${agent.description}</p>
			<div class="columns">
				<div>${may("execute", agent.name) ? form() : needs("start this agent", `execute:${agent.name}`)}</div>
				<aside aria-label="About the agent">
					${facts([
						["State", agent.paused && html`${state} Starts wait until it is resumed.`],
						["Version", agent.version],
						["Average time", average],
						["Cost per run", cost],
						["Limits", limits],
						["Model", [agent.llm_provider, agent.llm_model].filter(Boolean).join(" ")],
						["Tools", agent.tools.length && agent.tools.map(tag)],
						["Runs", html`<a href=${href(["runs"], { agent: agent.name })}>Show its runs</a>`],
					])}
					${schema ? html`<details class="section"><summary>Schema of the parameters</summary>${block(pretty(schema), "Schema")}</details>` : ""}
				</aside>
			</div>`;
	});
	return () => html`<h1>${page.id}</h1>${draw()}`;
}

/** @type {Is.startForm} */
function startForm(name, schema, signal) {
	const message = schemaForm(MESSAGE, "input_message");
	const parameters = schemaForm(schema ?? '{"type":"object"}', "parameters", "Parameters", schema !== undefined);
	const more = schemaForm(MORE, "");
	const send = starter();
	const draw = submitForm([message, parameters, more], "Start", async ([input_message, given, others]) => {
		const { tags, ...rest } = Object.fromEntries(entries(others));
		const body = { agent_name: JSON.stringify(name), input_message, parameters: given === "{}" ? undefined : given, tags: pairs(tags, "="), ...rest };
		const { execution_id } = await send("v1/executions", object(body));
		if (!signal.aborted) location.hash = href(["runs", execution_id]);
	});
	return () => draw(html`
		${message.render()} ${schema ? parameters.render() : ""}
		<details ?open=${more.hasErrors() || (!schema && parameters.hasErrors())}>
			<summary>More</summary>
			${schema ? "" : parameters.render()} ${more.render()}
		</details>`);
}
