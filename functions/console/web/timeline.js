/** What happened to a run, in order. */

import { html } from "./lit-html.js";
import { shares } from "./chart.js";
import { duration } from "./format.js";
import { hasEnded, time } from "./ui.js";

/** The others are shown with the deliveries. */
const MOST_ATTEMPTS = 6;

/** @type {Is.timeline} */
export function timeline(run, metadata, deliveries) {
	const end = Date.parse(run.completed_at ?? (hasEnded(run) ? run.updated_at : new Date().toISOString()));
	const started = run.started_at ? Date.parse(run.started_at) : end;
	const queued = Math.max(0, started - Math.max(Date.parse(run.created_at), Date.parse(run.start_at ?? run.created_at)));
	const ran = Math.max(0, end - started);
	const place = (/** @type {Moment} */ [at]) => (at ? Date.parse(at) : end);
	const inOrder = (/** @type {Moment} */ a, /** @type {Moment} */ b) => place(a) - place(b);
	const attempts = deliveries.flatMap((it) => it.attempts.map((attempt) => momentOf(it, attempt))).sort(inOrder);
	const moments = [...momentsOf(run, metadata, queued, ran), ...attempts.slice(-MOST_ATTEMPTS)].sort(inOrder);
	return html`
		${shares([["queued", queued], ["running", ran]])}
		<p class="legend"><span class="badge queued">queue ${duration(queued)}</span> <span class="badge running">run ${run.started_at ? duration(ran) : "–"}</span></p>
		<ol class="timeline">
			${moments.map(([at, text, note, kind = ""]) => html`<li class=${kind}>${text} ${at ? time(at, true) : ""} ${note ? html`<small>${note}</small>` : ""}</li>`)}
		</ol>`;
}

/** @type {Is.momentOf} */
const momentOf = ({ type, target }, { at, status, duration_ms }) => [
	at,
	`${type.replace("execution.", "")} → ${target === "callback" ? "callback" : "subscription"}`,
	`${status ?? "no answer"}, ${duration(duration_ms)}`,
	status && status < 300 ? "completed" : "failed",
];

/** @type {Is.momentsOf} */
function momentsOf(run, metadata, queued, ran) {
	// A name is whatever somebody has written. It must not read as more than that.
	const name = (/** @type {string} */ text) => html`<bdi>“${text.replace(/[“”]/g, '"')}”</bdi>`;
	const by = (/** @type {Actor} */ actor) => actor && html`by ${actor.name ? name(actor.name) : actor.user_id}, key <code>${actor.key_id}</code>`;
	const answered = metadata?.answered_by ?? [];
	const before = run.queue_position == null ? "" : `, with about ${run.queue_position} before it`;
	const end = run.completed_at ?? run.updated_at;
	/** @type {Maybe<Moment>[]} */
	const moments = [
		[run.created_at, "Accepted", by(metadata?.started_by)],
		run.start_at && [run.start_at, "Scheduled for"],
		run.started_at && [run.started_at, "Started", `after ${duration(queued)} in the queue`],
		run.redrive_count && [null, "Redriven", `${run.redrive_count} ×`],
		...answered.map((it) => /** @type {Moment} */ ([it.asked_at, "Asked", it.question])),
		...(run.questions ?? []).map((it) => /** @type {Moment} */ ([it.asked_at, "Asked", it.question.slice(0, 200), "now"])),
		...answered.map((it) => /** @type {Moment} */ ([it.answered_at, "Answered", by(it)])),
		metadata?.cancelled_by && [null, "Cancellation requested", by(metadata.cancelled_by)],
		hasEnded(run) && [end, run.status.charAt(0).toUpperCase() + run.status.slice(1), run.started_at && `after ${duration(ran)}`, run.status],
		run.redrive_requested_at && [run.redrive_requested_at, "Redrive requested", run.waits_for && `waits for: ${run.waits_for}${before}`, "now"],
		run.redrive_refusal && [null, "Redrive refused", run.redrive_refusal, "failed"],
		run.status === "queued" && [null, "Queued", run.message + before, "now"],
		run.status === "running" && [null, "Runs", "", "now"],
	];
	return moments.filter((it) => !!it);
}
