/** The list of runs: first what went wrong, then what waits or runs, then the others, newest first. */

import { html } from "./lit-html.js";
import { get, list, poll, session } from "./api.js";
import { charts } from "./chart.js";
import { DAY, HOUR, curl, duration, fromLocal, toLocal } from "./format.js";
import { STATUSES, badge, button, emptyList, emptyState, form, hasEnded, href, input, progress, runLink, section, table, tagList, time, update, userInput, whose } from "./ui.js";

const REFRESH = 5;
const TROUBLE_REFRESH = 15;
const TROUBLE_SHOWN = 5;
const SPANS = new Map([["Last hour", HOUR], ["Last day", DAY], ["Last week", 7 * DAY]]);
const BETWEEN = "Between…";
const CHECKS = [["Open", "open"], ["Went wrong", "trouble"]];
const BOUNDS = [["After", "after"], ["Before", "before"]];

/** What comes first, last. */
const URGENCY = ["running", "queued", "input_required"];

const isRead = () => document.querySelector(".runs:hover, .runs:focus-within") !== null;

/** What is asked of the API. @param {URLSearchParams} query */
function parametersOf(query) {
	const { status, agent, tag, batch, user, open, trouble, cursor, since, after, before } = Object.fromEntries(query);
	const span = SPANS.get(since);
	return {
		status, tag, open, trouble, cursor, agent_name: agent, batch_id: batch, owner: user, limit: "100",
		created_after: span ? new Date(Date.now() - span).toISOString() : after, created_before: before,
	};
}

/** @type {Opener} */
export function runsView(page) {
	const { query, signal } = page;
	const owner = query.get("user") ?? "";
	const isFirstPage = !query.has("cursor");
	const hasTrouble = [...query.keys()].every((name) => name === "user");
	/** The visitor's own, and what is open of everybody. */
	const isOfAll = session.me?.is_admin && isFirstPage && !owner && !query.has("open") && !query.has("trouble") && STATUSES.indexOf(query.get("status") ?? "") < 4;
	let isCut = false;
	let isWell = false;
	/** The `newer` list would move what the reader points at. */
	let [runs, newer, trouble] = /** @type {(Run[] | undefined)[]} */ ([]);
	/** @type {string | undefined} */
	let next;
	/** @type {string[]} */
	let agents = [];

	page.poll(async () => {
		const asked = parametersOf(query);
		const open = isOfAll ? await list({ ...asked, open: "true" }, signal) : { found: [], pages: 0, next: "" };
		const own = await list(asked, signal);
		[next, isCut] = [own.next, Boolean(open.next)];
		accept([...open.found, ...own.found]);
		return isFirstPage ? REFRESH * (open.pages + own.pages) : undefined;
	});
	if (hasTrouble) {
		poll(async () => {
			const { found, next, pages } = await list({ trouble: "true", owner, limit: String(TROUBLE_SHOWN + 1) }, signal);
			if (!trouble || !isRead()) trouble = found;
			isWell = !next;
			return TROUBLE_REFRESH * pages;
		}, signal, update);
	}
	poll(async () => {
		agents = (await get("v1/agents", signal)).data.agents.map((/** @type {Agent} */ agent) => agent.name);
	}, signal, update);

	/** @param {Run[]} all */
	function accept(all) {
		const fresh = new Map(all.map((run) => [run.execution_id, run]));
		const found = [...fresh.values()];
		const urgency = (/** @type {Run} */ run) => URGENCY.indexOf(run.status);
		// The items of a batch have their own order.
		if (isFirstPage && !query.has("batch")) found.sort((a, b) => urgency(b) - urgency(a) || b.created_at.localeCompare(a.created_at));
		const isSame = runs?.length === found.length && runs.every((run) => fresh.has(run.execution_id));
		[runs, newer] = !runs || !isRead() ? [found, undefined] : [runs.map((run) => fresh.get(run.execution_id) ?? run), isSame ? undefined : found];
	}

	const showNewer = () => {
		[runs, newer] = [newer, undefined];
		update();
	};

	const troubleSection = () =>
		trouble?.length
			? section("Went wrong", html`
					<ul class="plain">
						${trouble.slice(0, TROUBLE_SHOWN).map((run) => html`<li>${run.trouble?.map(badge)} ${runLink(run)} ${whose(run)} <span class="message">${run.message}</span> ${time(run.updated_at)}</li>`)}
					</ul>
					${trouble.length > TROUBLE_SHOWN ? html`<a href=${href(["runs"], { trouble: "true", user: owner })}>Show all</a>` : ""}`, "failed")
			: html`<p class="well">${trouble && isWell ? "Nothing went wrong lately." : ""}</p>`;

	const runsTable = (/** @type {Run[]} */ shown) => {
		return html`
			<div class="newer" role="status">${newer ? button("Show what is new", showNewer) : ""}</div>
			${table("Runs", ["Status", "Run", "Message", "Tags", "Created", "#Run time"], shown.map((run) => row(run, owner)), "runs wide")}`;
	};

	const nobody = () => {
		if (next) return emptyState("None of the runs on this page fits.", "Others may: go on to the next page.");
		if (!hasTrouble || owner) return emptyList(owner, "No runs fit.", html`Change the filters, or <a href="#/runs">show all runs</a>.`);
		const start = curl("v1/executions", JSON.stringify({ agent_name: agents[0] ?? "echo", input_message: "Hello" }));
		return emptyList(owner, "There are no runs yet.", html`Start one from the page of an <a href="#/agents">agent</a>, or with a request:`, start);
	};

	return () => html`
		<h1 class="hidden">Runs</h1>
		${hasTrouble ? troubleSection() : ""}
		${filterForm(query, agents)}
		${page.state(runs)}
		${runs?.length ? [charts(isOfAll ? runs.filter((run) => !run.user_id) : runs), runsTable(runs)] : runs ? nobody() : ""}
		<nav class="buttons" aria-label="Pages">
			${isFirstPage ? "" : html`<a class="button" href=${changed(query, { cursor: "" })}>First page</a>`}
			${next ? html`<a class="button" href=${changed(query, { cursor: next })}>Next page${isOfAll ? " of yours" : ""}</a>` : ""}
			${isCut ? html`<a class="button" href=${changed(query, { open: "true" })}>All open runs</a>` : ""}
		</nav>`;
}

/** @param {Run} run @param {string} owner */
const row = (run, owner) => html`<tr>
	<td>${badge(run.status)}</td>
	<th scope="row">${runLink(run)} ${whose(run)}</th>
	<td class="message">${run.message} ${progress(run)} ${run.trouble?.includes("undelivered") ? badge("undelivered") : ""}</td>
	<td class="tags">${tagList(run.tags, run.user_id ?? owner)}</td>
	<td>${time(run.created_at)}</td>
	<td class="number">${runTime(run)}</td>
</tr>`;

/** @param {Run} run */
function runTime(run) {
	if (!run.started_at || (hasEnded(run) && !run.completed_at)) return "–";
	return duration((run.completed_at ? Date.parse(run.completed_at) : Date.now()) - Date.parse(run.started_at));
}

/** @type {Is.changed} */
const changed = (query, changes) => href(["runs"], { ...Object.fromEntries(query), ...changes });

/** @param {URLSearchParams} query @param {string[]} agents */
function filterForm(query, agents) {
	const value = (/** @type {string} */ name) => query.get(name) ?? "";
	const since = query.has("after") || query.has("before") ? BETWEEN : value("since");
	/** @type {Is.choice} */
	const choice = (label, name, chosen, options) => html`<label>${label} <select name=${name}>
		<option value="">Any</option>
		${[...new Set([...options, chosen])].filter(Boolean).map((it) => html`<option value=${it} .selected=${it === chosen}>${it.replace("_", " ")}</option>`)}
	</select></label>`;
	const fields = html`
		${choice("Status", "status", value("status"), STATUSES)} ${choice("Agent", "agent", value("agent"), agents)}
		${choice("Created", "since", since, [...SPANS.keys(), BETWEEN])}
		${since === BETWEEN ? BOUNDS.map(([label, name]) => input(label, name, toLocal(value(name)), "", "datetime-local")) : ""}
		${input("Tag", "tag", value("tag"), "key=value")} ${input("Batch", "batch", value("batch"), "mcp-batch-…")}
		${userInput(value("user"))}
		${CHECKS.map(([label, name]) => html`<label class="check"><input type="checkbox" name=${name} value="true" .checked=${value(name) === "true"}> ${label}</label>`)}
		${[...query].length ? html`<a class="button small" href="#/runs">Clear</a>` : ""}
		<button class="hidden" tabindex="-1">Apply</button>`;
	return form(fields, ({ after = "", before = "", open = "", trouble = "", ...given }) => {
		const isBetween = given.since === BETWEEN;
		const times = { after: isBetween ? fromLocal(after) : "", before: isBetween ? fromLocal(before) : "" };
		location.hash = changed(query, { ...given, ...times, open, trouble, cursor: "" });
	}, "filters", true);
}
