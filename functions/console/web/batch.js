/** A batch: how its runs stand, and each of its items. */

import { html } from "./lit-html.js";
import { Problem, get, list, may, path, posting } from "./api.js";
import { shares } from "./chart.js";
import { plural } from "./format.js";
import { badge, button, confirmed, facts, head, href, runLink, table, time, told } from "./ui.js";

const REFRESH = 3;

/** @type {Opener} */
export function batchView(page) {
	const { id, signal } = page;
	/** @type {Batch | undefined} */
	let batch;
	/** @type {Map<string, Run>} */
	let runs = new Map();

	const refresh = page.poll(async () => {
		const [{ data }, listed] = await Promise.all([get(path("batches", id), signal), list({ batch_id: id, limit: "100" }, signal)]);
		batch = data;
		runs = new Map(listed.found.map((run) => [run.execution_id, run]));
		return data.status === "completed" ? undefined : REFRESH;
	});

	const cancel = confirmed(`Cancel all runs of ${id} that have not ended?`, "Cancel them", posting(path("batches", id, "cancel"), refresh));

	return () => {
		if (!batch) return html`<h1>Batch</h1>${page.state(false)}`;
		const mayCancel = batch.status === "running" && [...runs.values()].every((run) => may("cancel", run.agent_name));
		const buttons = html`
			${mayCancel ? button("Cancel", cancel, ({ runs }) => `${plural(runs, "run")} to be cancelled.`, "danger") : ""}
			<a class="button" href=${href(["runs"], { batch: id })}>Show as runs</a>`;
		const items = batch.items?.map((it, at) => {
			const run = "error" in it ? undefined : runs.get(it.execution_id);
			const status = "error" in it ? "refused" : run?.status;
			const message = "error" in it ? told(new Problem(it.error.status, it.error.detail, it.error.field ?? undefined)) : run?.message;
			return html`<tr>
				<td class="number">${at + 1}</td>
				<td>${status ? badge(status) : "–"}</td>
				<td>${run ? runLink(run) : "error" in it ? "–" : html`<code>${it.execution_id}</code>`}</td>
				<td class="message">${message ?? "It is no longer kept."}</td>
			</tr>`;
		});
		return html`${head("Batch", batch.status, id, buttons)} ${page.state(true)} ${countsBar(batch)}
			${facts([["Items", batch.size], ["Created", time(batch.created_at)], ["Completed", batch.completed_at && time(batch.completed_at)]])}
			${table("Items", ["#Item", "Status", "Run", "Message"], items, "wide")}`;
	};
}

/** @param {Batch} batch */
function countsBar({ counts, items = [] }) {
	const refused = items.filter((it) => "error" in it).length;
	// In the order of a run's life.
	const all = Object.entries({ ...counts, refused }).filter(([, count]) => count);
	return html`${shares(all)}<p class="legend">${all.map(([status, count]) => html`<span>${badge(status)} ${count}</span> `)}</p>`;
}
