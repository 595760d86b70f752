/** The pieces that the views share: badges, times, tables, forms, buttons that act, dialogs and notices. */

import { html, nothing, render } from "./lit-html.js";
import { Problem, queryOf } from "./api.js";
import { clock, relative } from "./format.js";
import { pretty } from "./json.js";

const ENDS = ["completed", "failed", "timeout", "cancelled"];
export const STATUSES = ["scheduled", "queued", "running", "input_required", ...ENDS];

/** How the page is drawn, which app.js knows. */
export const screen = { draw: () => {}, isDue: false };

/** Draws the page again, soon. */
export function update() {
	if (!screen.isDue) requestAnimationFrame(screen.draw);
	screen.isDue = true;
}

/** @param {Run} run */
export const hasEnded = (run) => ENDS.includes(run.status);

/** The address of a view. @param {string[]} segments @param {Given} [query] without blank ones */
export function href(segments, query = {}) {
	const tail = queryOf(query);
	return `#/${segments.map(encodeURIComponent).join("/")}${tail && `?${tail}`}`;
}

/** @param {string} status */
export const badge = (status) => html`<span class="badge ${status}">${status.replaceAll("_", " ")}</span>`;

/** @param {string | null | undefined} at @param {boolean} [exact] */
export const time = (at, exact) =>
	at ? html`<time datetime=${at} title=${exact ? relative(at) : clock(at)}>${exact ? clock(at, true) : relative(at)}</time>` : "–";

/** A run, by its agent and the end of its id: the start is alike. @param {Run} run */
export const runLink = (run) =>
	html`<a class="row" href=${href(["runs", run.execution_id])}>${run.agent_name} <span class="id">${run.execution_id.slice(-6)}</span></a>`;

/** @param {Run} run */
export const progress = (run) =>
	run.status === "running" && run.progress !== null
		? html`<span class="progress"><progress max="100" value=${run.progress} aria-label="Progress"></progress> ${run.progress} %</span>`
		: "";

/** @param {string} name */
export const tag = (name) => html`<span class="tag">${name}</span> `;

/** @param {Run["tags"]} tags */
export const tagList = (tags = {}) =>
	Object.entries(tags).map(([key, value]) => html`<a class="tag" href=${href(["runs"], { tag: `${key}=${value}` })}>${key}=${value}</a> `);

/** @param {string} name @param {string[]} columns `#` is before those of numbers @param {unknown} rows @param {string} [kind] */
export const table = (name, columns, rows, kind = "") => html`<table class=${kind}>
	<caption class="hidden">${name}</caption>
	<thead><tr>${columns.map((it) => html`<th scope="col" class=${it.startsWith("#") ? "number" : ""}>${it.replace("#", "")}</th>`)}</tr></thead>
	<tbody>${rows}</tbody>
</table>`;

/** @param {[label: string, value: unknown][]} list what has no value is left out */
export const facts = (list) => html`<dl class="facts">
	${list.filter(([, value]) => value || value === 0).map(([label, value]) => html`<div><dt>${label}</dt><dd>${value}</dd></div>`)}
</dl>`;

/** @param {string} title @param {unknown} content @param {string} [kind] */
export const section = (title, content, kind = "") => html`<section class=${kind} aria-label=${title}><h2>${title}</h2>${content}</section>`;

/** A text that can be copied. @param {string} text @param {string} name @param {string} [shown] less than all of it @param {unknown} [more] */
export const block = (text, name, shown = text, more = "") =>
	html`<div class="block"><pre tabindex="0" role="group" aria-label=${name}>${shown}</pre>${copyButton(text)}${more}</div>`;

export const loading = html`<p class="hint">Loading…</p>`;

/** What a problem says to a person. @param {unknown} error @param {number} [pause] after which it is tried again, in seconds */
export function told(error, pause) {
	const { message, field, retryAfter } = Problem.of(error);
	const text = field ? (message.startsWith(field) ? message : `${field}: ${message}`) : message.charAt(0).toUpperCase() + message.slice(1);
	return text + (/[.!?…]$/.test(text) ? "" : ".") + (pause ? ` Trying again in ${Math.round(pause)} s.` : retryAfter ? ` Try again in ${retryAfter} s.` : "");
}

/** @param {string} text */
export const problemBox = (text) => (text ? html`<p class="problem" role="alert">${text}</p>` : "");

/** @param {string} title @param {unknown} text what to do @param {string} [command] */
export const emptyState = (title, text, command) => html`<div class="empty">
	<p><b>${title}</b></p>
	<p>${text}</p>
	${command ? block(command, "Command") : ""}
</div>`;

/**
 * A button, and what is said once it has done its work; nothing if that answers `false`.
 * @param {string} label @param {() => any} action @param {string | ((done: any) => string)} [success] @param {string} [kind] @param {string} [title]
 */
export function button(label, action, success = "", kind = "small", title = "") {
	const click = async (/** @type {On<HTMLElement>} */ { currentTarget: element }) => {
		if (element.ariaDisabled === "true") return;
		// A disabled button would lose the focus.
		element.ariaDisabled = "true";
		try {
			const done = await action();
			if (done !== false) notify(typeof success === "string" ? success : success(done));
		} catch (error) {
			notify(told(error), true);
		}
		element.ariaDisabled = null;
	};
	return html`<button type="button" class=${kind} title=${title || nothing} @click=${click}>${label}</button>`;
}

/** @param {string} text @param {string} [label] @param {string} [kind] */
export const copyButton = (text, label = "Copy", kind) => button(label, () => navigator.clipboard.writeText(text), "Copied.", kind);

/** The head of a view of one thing. @param {string} name @param {string} status @param {string} id @param {unknown} buttons */
export const head = (name, status, id, buttons) => html`<div class="head">
	<div><h1>${name} ${badge(status)}</h1><p><code>${id}</code> ${copyButton(id, "Copy id")}</p></div>
	<div class="buttons">${buttons}</div>
</div>`;

/**
 * A form, and what is done with what it says: once it is submitted, or at each change.
 * @param {unknown} content @param {(given: Given) => void} apply @param {string} [kind] @param {boolean} [atChange]
 */
export function form(content, apply, kind = "filters", atChange = false) {
	const submit = (/** @type {On<HTMLFormElement>} */ event) => {
		event.preventDefault();
		apply(Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, String(value).trim()])));
	};
	return html`<form class=${kind} @submit=${submit} @change=${atChange ? submit : nothing}>${content}</form>`;
}

/** @param {string} label @param {string} name @param {string} value @param {string} hint @param {string} [type] */
export const input = (label, name, value, hint, type = "text") =>
	html`<label>${label} <input name=${name} type=${type} .value=${value} placeholder=${hint} spellcheck="false" autocomplete="off"></label>`;

/** Tells what has happened. @param {string} text @param {boolean} [isBad] stays until it is dismissed */
export function notify(text, isBad) {
	if (!text) return;
	const notice = document.createElement("div");
	notice.className = isBad ? "notice bad" : "notice";
	const close = () => notice.remove();
	render(html`<span>${text}</span><button type="button" class="link" aria-label="Dismiss" @click=${close}>×</button>`, notice);
	document.getElementById("notices")?.append(notice);
	if (!isBad) setTimeout(close, 6_000);
}

/** What a button does if a dialog is answered with `verb`. @param {string} question @param {string} verb @param {() => any} action */
export const confirmed = (question, verb, action) => async () => (await asked(question, verb)) && action();

/** @param {string} question @param {string} verb @returns {Promise<boolean>} */
function asked(question, verb) {
	const dialog = document.createElement("dialog");
	dialog.ariaLabel = question;
	return new Promise((resolve) => {
		dialog.onclose = () => {
			dialog.remove();
			resolve(dialog.returnValue !== "");
		};
		const buttons = [button("Back", () => dialog.close(), "", ""), button(verb, () => dialog.close(verb), "", "danger")];
		render(html`<p>${question}</p><div class="buttons">${buttons}</div>`, dialog);
		document.body.append(dialog);
		dialog.showModal();
	});
}

const FOLDED = 4_000;
const UNFOLDED_AT_ONCE = 200_000;

/** Shows a JSON value as text, a large one folded. @param {string} name */
export function valueBlock(name) {
	let [text, out, shown] = ["", "", 0];
	return (/** @type {string} */ next) => {
		if (next !== text) {
			text = next;
			out = text.startsWith('"') ? JSON.parse(text) : pretty(text);
			shown = out.length <= 2 * FOLDED ? out.length : FOLDED;
		}
		const left = out.length - shown;
		const more = () => {
			shown += UNFOLDED_AT_ONCE;
			update();
		};
		if (left <= 0) return block(out, name);
		return block(out, name, `${out.slice(0, shown)}…`, button(`Show more: ${Math.ceil(left / 1_000)} thousand characters are left`, more, "", "small more"));
	};
}
