/** What happened to a run, in order: accepted, queued, started, asked, ended, and each attempt of its callbacks. */

import { html } from "./lit-html.js";
import { duration } from "./format.js";
import { hasEnded, time } from "./ui.js";

/** The others are shown with the deliveries. */
const MOST_ATTEMPTS = 6;

/** @param {Run} run @param {Metadata} metadata @param {Delivery[]} deliveries */
export function timeline(run, metadata, deliveries) {
	const end = Date.parse(run.completed_at ?? (hasEnded(run) ? run.updated_at : new Date().toISOString()));
	const started = run.started_at ? Date.parse(run.started_at) : end;
	const queued = Math.max(0, started - Math.max(Date.parse(run.created_at), Date.parse(run.start_at ?? run.created_at)));
	const ran = Math.max(0, end - started);
	const place = (/** @type {Moment} */ { at }) => (at ? Date.parse(at) : end);
	const inOrder = (/** @type {Moment} */ a, /** @type {Moment} */ b) => place(a) - place(b);
	const attempts = deliveries.flatMap((it) => it.attempts.map((attempt) => momentOf(it, attempt))).sort(inOrder);
	const moments = [...momentsOf(run, metadata, queued, ran), ...attempts.slice(-MOST_ATTEMPTS)].sort(inOrder);
	const part = (queued / (queued + ran || 1)) * 100;
	return html`
		<svg class="share" height="6" aria-hidden="true">
			<rect class="queued" width="${part}%" height="6" /><rect class="running" x="${part}%" width="${100 - part}%" height="6" />
		</svg>
		<p class="legend"><span class="badge queued">queue ${duration(queued)}</span> <span class="badge running">run ${run.started_at ? duration(ran) : "–"}</span></p>
		<ol class="timeline">
			${moments.map(({ at, kind = "", text, note }) => html`<li class=${kind}>${text} ${at ? time(at, true) : ""} ${note ? html`<small>${note}</small>` : ""}</li>`)}
		</ol>`;
}

/** @param {Delivery} delivery @param {Attempt} attempt */
const momentOf = ({ type, target }, { at, status, duration_ms }) => ({
	at,
	kind: status && status < 300 ? "completed" : "failed",
	text: `${type.replace("execution.", "")} → ${target === "callback" ? "callback" : "subscription"}`,
	note: `${status ?? "no answer"}, ${duration(duration_ms)}`,
});

/** @param {Run} run @param {Metadata} metadata @param {number} queued @param {number} ran @returns {Moment[]} */
function momentsOf(run, metadata, queued, ran) {
	const by = (/** @type {Actor} */ actor) => actor && html`by ${actor.name ?? actor.user_id}, key <code>${actor.key_id}</code>`;
	const before = run.queue_position == null ? "" : `, with about ${run.queue_position} before it`;
	const moments = [
		{ at: run.created_at, text: "Accepted", note: by(metadata?.started_by) },
		run.start_at && { at: run.start_at, text: "Scheduled for" },
		run.started_at && { at: run.started_at, text: "Started", note: `after ${duration(queued)} in the queue` },
		run.redrive_count && { text: "Redriven", note: `${run.redrive_count} ×` },
		...(metadata?.answered_by ?? []).map((actor) => ({ text: "Answered", note: by(actor) })),
		...(run.questions ?? []).map((it) => ({ at: it.asked_at, kind: "now", text: "Asked", note: it.question.slice(0, 120) })),
		metadata?.cancelled_by && { text: "Cancellation requested", note: by(metadata.cancelled_by) },
		hasEnded(run) && { at: run.completed_at ?? run.updated_at, kind: run.status, text: run.status.charAt(0).toUpperCase() + run.status.slice(1), note: run.started_at && `after ${duration(ran)}` },
		run.redrive_requested_at && { at: run.redrive_requested_at, kind: "now", text: "Redrive requested", note: run.waits_for && `waits for: ${run.waits_for}${before}` },
		run.redrive_refusal && { kind: "failed", text: "Redrive refused", note: run.redrive_refusal },
		run.status === "queued" && { kind: "now", text: "Queued", note: run.message + before },
		run.status === "running" && { kind: "now", text: "Runs" },
	];
	return moments.filter((it) => typeof it === "object" && it !== null);
}
