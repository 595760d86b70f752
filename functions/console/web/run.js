/** One run: where it stands, what it made, and what can be done about it. */

import { html } from "./lit-html.js";
import { get, list, may, path, posting, session, starter } from "./api.js";
import { deliveriesList } from "./deliveries.js";
import { MINUTE, awsConsole, curl } from "./format.js";
import { entries, within } from "./json.js";
import { questionCards } from "./questions.js";
import { timeline } from "./timeline.js";
import { block, button, confirmed, copyButton, facts, hasEnded, head, hint, href, progress, section, tag, tagList, time, valueBlock } from "./ui.js";

const MOST_DELIVERIES = "100";
const REFRESH = 2;
/** While callbacks are pending long after the end. */
const SELDOM = 15;

const textsOf = (/** @type {string} */ text) => ({
	result: within(text, "result"), tokens: within(text, "tokens_used"), raw: within(text, "metadata", "raw_output"),
	message: within(text, "metadata", "input_message"), parameters: within(text, "metadata", "parameters"),
});

/** What its results change with. @param {Run | undefined} run */
const versionOf = (run) => JSON.stringify([run?.status, run?.redrive_count, run?.questions?.map(({ id }) => id)]);

/** @type {Opener} */
export function runView(page) {
	const { id, signal } = page;
	const own = (/** @type {string[]} */ ...segments) => path("executions", id, ...segments);
	/** @type {Run | undefined} */
	let run;
	let runText = "";
	/** @type {Schemas["Results"] | undefined} */
	let results;
	/** What it has as texts, with each digit. */
	let texts = textsOf("");
	/** @type {Delivery[]} */
	let deliveries = [];
	let isCut = false;
	const send = starter();
	const refresh = page.poll(load);
	const cards = questionCards(refresh);
	const [inputBlock, parametersBlock, resultBlock, rawBlock] = ["Input message", "Parameters", "Result", "Raw output"].map(valueBlock);

	async function load() {
		const { data, text } = await get(own(), signal);
		const now = /** @type {Run} */ (data);
		if (!results || versionOf(run) !== versionOf(now)) {
			const found = await get(`${own("results")}?include_metadata=true`, signal);
			[results, texts] = [found.data, textsOf(found.text)];
		}
		const { found, next } = await list({ limit: MOST_DELIVERIES }, signal, own("deliveries"));
		[deliveries, isCut] = [found, Boolean(next)];
		[run, runText] = [now, text];
		const isFresh = !hasEnded(now) || now.redrive_requested_at || Date.now() - Date.parse(now.updated_at) < MINUTE;
		return isFresh ? REFRESH : deliveries.some(({ state }) => state === "pending") ? SELDOM : undefined;
	}

	const cancel = confirmed(`Cancel ${id}? What it has done so far is not undone.`, "Cancel the run", posting(own("cancel"), refresh));
	const rerun = async () => {
		const { execution_id } = await send(own("rerun"), "{}");
		if (!signal.aborted) location.hash = href(["runs", execution_id]);
	};

	const header = (/** @type {Run} */ it) => {
		const canRedrive = hasEnded(it) && it.status !== "completed" && !it.redrive_requested_at;
		const mayExecute = may("execute", it.agent_name);
		const buttons = html`
			${may("cancel", it.agent_name) && !hasEnded(it) ? button("Cancel", cancel, "The run is being cancelled.", "danger") : ""}
			${mayExecute && canRedrive ? button("Redrive", posting(own("redrive"), refresh), "It is to continue from where it failed.", "", "Continue from the state that failed") : ""}
			${mayExecute ? button("Rerun", rerun, "Started again, as a new run.", "", "Start a new run with the same input") : ""}
			${copyButton(curl(own("rerun")), "Copy as curl", "")}`;
		return html`${head(it.agent_name, it.status, id, buttons)}<p class="lead"><span role="status">${it.message}</span> ${progress(it)}</p>`;
	};

	const outcome = () => {
		const { error, tools_used: tools } = results ?? {};
		const { result, raw, tokens } = texts;
		const usage = facts([
			["Tools", tools?.length && tools.map(tag)],
			["Tokens", tokens && (tokens.startsWith("{") ? entries(tokens).map(([key, value]) => html`${key} <b>${value}</b> `) : tokens)],
		]);
		return html`
			${error ? section("Error", html`<p><code>${error.code}</code></p>${error.cause ? block(error.cause, "Cause") : ""}`, "failed") : ""}
			${result || run?.status === "completed" ? section("Result", resultBlock(result ?? "null")) : ""}
			${tools?.length || tokens ? section("Usage", usage) : ""}
			${raw ? html`<details class="section"><summary>Raw output</summary>${rawBlock(raw)}</details>` : ""}`;
	};

	const input = ({ message, parameters } = texts) => [
		message ? section("Input", inputBlock(message)) : "",
		parameters && parameters !== "{}" ? section("Parameters", parametersBlock(parameters)) : "",
	];

	const details = (/** @type {Run} */ it) => {
		const metadata = results?.metadata;
		const url = awsConsole(metadata?.execution_arn);
		/** @type {Is.link} */
		const link = (view, to) => to && html`<a href=${href([view, to])}>${to}</a>`;
		return facts([
			["Agent", link("agents", it.agent_name)],
			["User", metadata?.user_id],
			["Tags", it.tags && tagList(it.tags, metadata && metadata.user_id !== session.me?.user_id ? metadata.user_id : "")],
			["Batch", link("batches", it.batch_id)],
			["Rerun of", link("runs", it.rerun_of)],
			["Updated", time(it.updated_at)],
			["Execution", url && html`<a href=${url} target="_blank" rel="noreferrer noopener">Open in the AWS console</a>`],
		]);
	};

	return () => {
		const asked = cards(run ? [{ run, text: runText }] : []);
		return run
			? html`
					${header(run)} ${page.state(true)}
					<div class="columns">
						<div>
							${run.questions?.length ? section("Questions", asked) : ""}
							${outcome()} ${input()}
							${section("Deliveries", [deliveriesList(id, deliveries, refresh), isCut ? hint("Others are hidden.") : ""])}
						</div>
						<aside aria-label="Course of the run">
							${section("Timeline", timeline(run, results?.metadata, deliveries))} ${section("Details", details(run))}
						</aside>
					</div>`
			: html`<h1>Run</h1>${page.state(false)}`;
	};
}
