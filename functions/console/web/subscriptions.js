/** The subscriptions, and whether their receivers work. */

import { html } from "./lit-html.js";
import { get, may, path, post, posting, remove } from "./api.js";
import { plural } from "./format.js";
import { entries, object } from "./json.js";
import { pairs, schemaForm, submitForm } from "./schema-form.js";
import { badge, button, confirmed, copyButton, emptyState, facts, notify, time, update } from "./ui.js";

const REFRESH = 15;
const EVENTS = ["completed", "failed", "timeout", "cancelled", "running", "progress", "input_required"].map((it) => `execution.${it}`);
const NEW = JSON.stringify({
	type: "object",
	required: ["url"],
	properties: {
		url: { type: "string", format: "uri", title: "URL of the receiver" },
		events: { type: "array", items: { enum: [...EVENTS, "batch.completed"] }, title: "Events", description: "If you choose none, it gets the four ends of a run." },
		agent_name: { type: "string", maxLength: 80, title: "Agent", description: "If you name none, it gets the events of all agents." },
		headers: { type: "array", items: { type: "string" }, title: "Headers", description: "Each as Name: value. Nobody can read them afterwards." },
	},
});

/** @type {Opener} */
export function subscriptionsView(page) {
	const { signal } = page;
	/** @type {Subscription[] | undefined} */
	let list;
	/** Those that were asked for. @type {Map<string, string>} */
	const secrets = new Map();
	const refresh = page.poll(async () => {
		list = (await get("v1/subscriptions", signal)).data.subscriptions;
		return REFRESH;
	});

	function newForm() {
		const form = schemaForm(NEW, "");
		const draw = submitForm([form], "Create", async ([value]) => {
			const { headers, ...rest } = Object.fromEntries(entries(value));
			const { data } = await post("v1/subscriptions", object({ ...rest, headers: pairs(headers, ":") }));
			secrets.set(data.id, data.secret);
			create = newForm();
			notify("The subscription is created. Its secret is shown with it.");
			refresh();
		});
		return () => draw(form.render());
	}
	let create = newForm();

	const card = (/** @type {Subscription} */ it) => {
		const own = (/** @type {string[]} */ ...verb) => path("subscriptions", it.id, ...verb);
		const request = (/** @type {string} */ verb) => posting(own(verb), refresh);
		const showSecret = async () => {
			secrets.set(it.id, (await get(own("secret"), signal)).data.secret);
			update();
		};
		/** Sends again what was given up since it began to fail. */
		const recover = async () => {
			const since = JSON.stringify(it.failing_since ?? it.disabled_at ?? it.last_success_at ?? it.created_at);
			let [count, cursor] = [0, ""];
			do {
				const { data } = await post(own("recover"), object({ since, cursor: cursor ? JSON.stringify(cursor) : undefined }));
				count += data.recovered;
				cursor = data.next_cursor;
			} while (cursor);
			return `${plural(count, "event")} sent again.`;
		};
		const removal = confirmed(`Delete the subscription of ${it.url}? Pending events are not sent.`, "Delete", async () => {
			await remove(own());
			refresh();
		});
		const secret = secrets.get(it.id);
		const mayManage = may("manage", "*");
		const why = it.disabled_reason === "gone" ? "the receiver answered 410" : "there was no success for five days";
		return html`<section class="card" aria-label=${it.url}>
			<h2>${badge(it.disabled_at ? "disabled" : it.failing_since ? "failing" : it.last_success_at ? "healthy" : "unused")} ${it.url}</h2>
			${facts([
				["Disabled", it.disabled_at && html`${time(it.disabled_at)}: ${why}`],
				["Failing", it.failing_since && html`since ${time(it.failing_since)}, ${plural(it.failures, "failure")}`],
				["Last success", it.last_success_at ? time(it.last_success_at) : "none yet"],
				["Events", it.events.join(", ")],
				["Agent", it.agent_name ?? "all"],
				["Created", html`${time(it.created_at)} ${it.key_id ? html`by key <code>${it.key_id}</code>` : ""}`],
				["Ends", it.expires_at && time(it.expires_at)],
				["Id", html`<code>${it.id}</code>`],
				["Secret", secret && html`<code>${secret}</code> ${copyButton(secret)}`],
			])}
			<div class="buttons">
				${it.disabled_at
					? mayManage ? button("Enable", request("enable"), "It gets events again.") : ""
					: [
							button("Test", request("test"), "A test is sent."),
							mayManage ? button("Recover", recover, String, "small", "Send again what was given up") : "",
						]}
				${secret ? "" : button("Show secret", showSecret)}
				${button("Delete", removal, "It is deleted.", "small danger")}
			</div>
		</section>`;
	};

	return () => html`<h1>Subscriptions</h1>
		${page.state(list)}
		${list?.length === 0 ? emptyState("There are no subscriptions.", "One sends the events of all your runs to a URL. Create it below.") : ""}
		<div class="cards">${list?.map(card)}</div>
		<details class="section" ?open=${list?.length === 0}><summary>New subscription</summary>${create()}</details>`;
}
