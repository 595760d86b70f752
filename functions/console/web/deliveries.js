/** The callbacks of a run, and what became of each attempt. */

import { html } from "./lit-html.js";
import { path, posting } from "./api.js";
import { duration, plural } from "./format.js";
import { badge, button, emptyState, hint, table, time } from "./ui.js";

/** @type {Is.deliveriesList} */
export const deliveriesList = (id, deliveries, refresh) =>
	deliveries.length
		? deliveries.map((it) => deliveryView(id, it, refresh))
		: emptyState(
				"Nothing was sent for this run.",
				html`Start one with a <code>callback_url</code>, or create a <a href="#/subscriptions">subscription</a> for all runs.`,
			);

/** @type {Is.deliveryView} */
function deliveryView(id, delivery, refresh) {
	const { attempts, attempt_count: count, next_attempt_at: next, put_off: delays, redelivered_by: actor, state } = delivery;
	const again = posting(path("executions", id, "deliveries", delivery.id, "redeliver"), refresh);
	const rows = attempts.map(({ at, status, duration_ms, detail }) => html`<tr>
		<td>${time(at, true)}</td>
		<td class=${status && status < 300 ? "good" : "bad"}>${status ?? "none"}</td>
		<td class="number">${duration(duration_ms)}</td>
		<td class="detail">${detail}</td>
	</tr>`);
	return html`<details class="delivery" ?open=${state === "undelivered"}>
		<summary>
			${badge(state)} <b>${delivery.type}</b> to ${delivery.target === "callback" ? "the callback" : delivery.target}
			<small>${plural(count, "attempt")}${next ? html`, next ${time(next)}` : ""}</small>
		</summary>
		${attempts.length ? table("Attempts", ["Time", "Answer", "#Took", "Detail"], rows) : hint("There was no attempt yet.")}
		<p class="hint">
			webhook-id <code>${delivery.id}</code>${delays ? `, put off ${plural(delays, "time")} by a limit` : ""}${actor ? `, sent again for ${actor.user_id}` : ""}
		</p>
		${state === "pending" ? "" : button("Deliver again", again, "It is sent again.")}
	</details>`;
}
