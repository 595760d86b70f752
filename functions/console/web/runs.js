/** The list of runs: first what went wrong, then all, newest first, as the filters in the address say. */

import { html } from "./lit-html.js";
import { get, list, poll, session } from "./api.js";
import { charts } from "./chart.js";
import { DAY, HOUR, curl, duration, fromLocal, toLocal } from "./format.js";
import { STATUSES, badge, button, emptyState, form, hasEnded, href, input, progress, runLink, section, table, tagList, time, update } from "./ui.js";

const REFRESH = 5;
const TROUBLE_REFRESH = 15;
const TROUBLE_SHOWN = 5;
/** @type {Record<string, number>} */
const SPANS = { "Last hour": HOUR, "Last day": DAY, "Last week": 7 * DAY };
const BETWEEN = "Between…";
const BOUNDS = [["After", "after"], ["Before", "before"]];

const isRead = () => document.querySelector(".runs:hover, .runs:focus-within") !== null;

/** What the filters ask of the API. @param {URLSearchParams} query */
function parametersOf(query) {
	const { status, agent, tag, batch, user, trouble, cursor, since, after, before } = Object.fromEntries(query);
	const span = SPANS[since];
	return {
		status, tag, trouble, cursor, agent_name: agent, batch_id: batch, owner: user, limit: "100",
		created_after: span ? new Date(Date.now() - span).toISOString() : after, created_before: before,
	};
}

/** @type {Opener} */
export function runsView(page) {
	const { query, signal } = page;
	const owner = query.get("user") ?? "";
	const isFirstPage = !query.has("cursor");
	const hasTrouble = [...query.keys()].every((name) => name === "user");
	/** The `newer` list would move what the reader points at. */
	let [runs, newer, trouble] = /** @type {(Run[] | undefined)[]} */ ([]);
	/** @type {string | undefined} */
	let next;
	/** @type {string[]} */
	let agents = [];

	page.poll(async () => {
		const found = await list(parametersOf(query), signal);
		next = found.next;
		accept(found.runs);
		return isFirstPage ? REFRESH : undefined;
	});
	if (hasTrouble) {
		poll(async () => {
			const { runs } = await list({ trouble: "true", owner, limit: String(TROUBLE_SHOWN + 1) }, signal);
			if (!trouble || !isRead()) trouble = runs;
			return TROUBLE_REFRESH;
		}, signal, update);
	}
	poll(async () => {
		agents = (await get("v1/agents", signal)).data.agents.map((/** @type {Agent} */ agent) => agent.name);
	}, signal, update);

	/** @param {Run[]} found */
	function accept(found) {
		const fresh = new Map(found.map((run) => [run.execution_id, run]));
		const isSame = runs?.length === found.length && runs.every((run) => fresh.has(run.execution_id));
		[runs, newer] = !runs || isSame || !isRead() ? [found, undefined] : [runs.map((run) => fresh.get(run.execution_id) ?? run), found];
	}

	const showNewer = () => {
		[runs, newer] = [newer, undefined];
		update();
	};

	const troubleSection = () =>
		trouble?.length
			? section("Went wrong", html`
					<ul class="plain">
						${trouble.slice(0, TROUBLE_SHOWN).map((run) => html`<li>${run.trouble?.map(badge)} ${runLink(run)} ${run.user_id} <span class="message">${run.message}</span> ${time(run.updated_at)}</li>`)}
					</ul>
					${trouble.length > TROUBLE_SHOWN ? html`<a href=${href(["runs"], { trouble: "true", user: owner })}>Show all</a>` : ""}`, "failed")
			: html`<p class="well">${trouble ? "Nothing went wrong lately." : ""}</p>`;

	const runsTable = (/** @type {Run[]} */ shown) => {
		const hasUser = shown.some((run) => run.user_id);
		const count = newer?.filter((run) => !shown.some((it) => it.execution_id === run.execution_id)).length;
		return html`
			<div class="newer" role="status">${newer ? button(count ? `Show ${count} new` : "Update the list", showNewer) : ""}</div>
			${table("Runs, newest first", ["Status", "Run", "Message", "Tags", ...(hasUser ? ["User"] : []), "Created", "#Run time"], shown.map((run) => row(run, hasUser)), "runs wide")}`;
	};

	const nobody = () => {
		if (next) return emptyState("None of the runs on this page fits.", "Older ones may: go on to the next page.");
		if (!hasTrouble || owner) return emptyState("No runs fit.", html`Change the filters, or <a href="#/runs">show all runs</a>.`);
		const start = curl("v1/executions", JSON.stringify({ agent_name: agents[0] ?? "echo", input_message: "Hello" }));
		return emptyState("There are no runs yet.", html`Start one from the page of an <a href="#/agents">agent</a>, or with a request:`, start);
	};

	return () => html`
		<h1 class="hidden">Runs</h1>
		${hasTrouble ? troubleSection() : ""}
		${filterForm(query, agents)}
		${page.state(runs)}
		${runs?.length ? [charts(runs), runsTable(runs)] : runs ? nobody() : ""}
		<nav class="buttons" aria-label="Pages">
			${isFirstPage ? "" : html`<a class="button" href=${changed(query, { cursor: "" })}>Newest</a>`}
			${next ? html`<a class="button" href=${changed(query, { cursor: next })}>Older</a>` : ""}
		</nav>`;
}

/** @param {Run} run @param {boolean} hasUser */
const row = (run, hasUser) => html`<tr>
	<td>${badge(run.status)}</td>
	<th scope="row">${runLink(run)}</th>
	<td class="message">${run.message} ${progress(run)} ${run.trouble?.includes("undelivered") ? badge("undelivered") : ""}</td>
	<td class="tags">${tagList(run.tags)}</td>
	${hasUser ? html`<td>${run.user_id}</td>` : ""}
	<td>${time(run.created_at)}</td>
	<td class="number">${runTime(run)}</td>
</tr>`;

/** @param {Run} run */
function runTime(run) {
	if (!run.started_at || (hasEnded(run) && !run.completed_at)) return "–";
	return duration((run.completed_at ? Date.parse(run.completed_at) : Date.now()) - Date.parse(run.started_at));
}

/** The address with other filters. @param {URLSearchParams} query @param {Record<string, string>} changes */
const changed = (query, changes) => href(["runs"], { ...Object.fromEntries(query), ...changes });

/** @param {URLSearchParams} query @param {string[]} agents */
function filterForm(query, agents) {
	const value = (/** @type {string} */ name) => query.get(name) ?? "";
	const since = query.has("after") || query.has("before") ? BETWEEN : value("since");
	/** @param {string} label @param {string} name @param {string} chosen @param {string[]} options */
	const choice = (label, name, chosen, options) => html`<label>${label} <select name=${name}>
		<option value="">Any</option>
		${[...new Set([...options, chosen])].filter(Boolean).map((it) => html`<option value=${it} .selected=${it === chosen}>${it.replace("_", " ")}</option>`)}
	</select></label>`;
	const fields = html`
		${choice("Status", "status", value("status"), STATUSES)} ${choice("Agent", "agent", value("agent"), agents)}
		${choice("Created", "since", since, [...Object.keys(SPANS), BETWEEN])}
		${since === BETWEEN ? BOUNDS.map(([label, name]) => input(label, name, toLocal(value(name)), "", "datetime-local")) : ""}
		${input("Tag", "tag", value("tag"), "key=value")} ${input("Batch", "batch", value("batch"), "mcp-batch-…")}
		${session.me?.is_admin ? input("User", "user", value("user"), "yourself") : ""}
		<label class="check"><input type="checkbox" name="trouble" value="true" .checked=${value("trouble") === "true"}> Went wrong</label>
		${[...query].length ? html`<a class="button small" href="#/runs">Clear</a>` : ""}
		<button class="hidden" tabindex="-1">Apply</button>`;
	return form(fields, ({ after = "", before = "", trouble = "", ...given }) => {
		const isBetween = given.since === BETWEEN;
		const times = { after: isBetween ? fromLocal(after) : "", before: isBetween ? fromLocal(before) : "" };
		location.hash = changed(query, { ...given, ...times, trouble, cursor: "" });
	}, "filters", true);
}
