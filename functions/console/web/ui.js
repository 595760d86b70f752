/** The pieces that the views share. */

import { html, nothing, render } from "./lit-html.js";
import { Problem, queryOf, session } from "./api.js";
import { clock, relative } from "./format.js";
import { pretty } from "./json.js";

const ENDS = ["completed", "failed", "timeout", "cancelled"];
export const STATUSES = ["scheduled", "queued", "running", "input_required", ...ENDS];

/** How the page is drawn, which the page knows. */
export const screen = { draw: () => {}, isDue: false };

/** Draws the page again, soon. */
export function update() {
	if (!screen.isDue) requestAnimationFrame(screen.draw);
	screen.isDue = true;
}

/** @type {Is.drawn} */
export function drawn(view, element = document.createElement("div")) {
	try {
		render(view(), element);
		return element;
	} catch (error) {
		return drawn(() => problemBox(`This cannot be shown: ${error}`));
	}
}

/** @param {Run} run */
export const hasEnded = (run) => ENDS.includes(run.status);

/** @type {Is.href} */
export function href(segments, query = {}) {
	const tail = queryOf(query);
	return `#/${segments.map(encodeURIComponent).join("/")}${tail && `?${tail}`}`;
}

/** @param {string} status */
export const badge = (status) => html`<span class="badge ${status}">${status.replaceAll("_", " ")}</span>`;

/** @type {Is.time} */
export const time = (at, exact) =>
	at ? html`<time datetime=${at} title=${exact ? relative(at) : clock(at)}>${exact ? clock(at, true) : relative(at)}</time>` : "–";

/** @type {Is.deadline} */
const deadline = (at) =>
	html`<time datetime=${at} title=${relative(at)}>${clock(at)} ${new Date(at).toLocaleTimeString("en", { timeZoneName: "short" }).split(" ").at(-1)}</time>`;

export const hint = (/** @type {unknown} */ text) => html`<p class="hint">${text}</p>`;

/** @type {Is.asks} */
export const asks = (who, { question, asked_at, expires_at }) => html`
	${hint(html`${who} asked ${time(asked_at)}${expires_at ? html`, and waits until ${deadline(expires_at)}` : ""}`)}
	<p class="question">${question}</p>`;

/** @type {Is.runLink} */
export const runLink = (run) =>
	html`<a class="row" href=${href(["runs", run.execution_id])}>${run.agent_name} <span class="id">${run.execution_id.slice(-6)}</span></a>`;

/** @param {Run} run */
export const whose = ({ user_id: user }) => user && html`<a class="tag" href=${href(["runs"], { user })}>${user}</a>`;

/** @param {Run} run */
export const progress = (run) =>
	run.status === "running" && run.progress !== null
		? html`<span class="progress"><progress max="100" value=${run.progress} aria-label="Progress"></progress> ${run.progress} %</span>`
		: "";

/** @param {string} name */
export const tag = (name) => html`<span class="tag">${name}</span> `;

/** @type {Is.tagList} */
export const tagList = (tags = {}, user) =>
	Object.entries(tags).map(([key, value]) => html`<a class="tag" href=${href(["runs"], { tag: `${key}=${value}`, user })}>${key}=${value}</a> `);

/** @type {Is.table} */
export const table = (name, columns, rows, kind = "") => html`<table class=${kind}>
	<caption class="hidden">${name}</caption>
	<thead><tr>${columns.map((it) => html`<th scope="col" class=${it.startsWith("#") ? "number" : ""}>${it.replace("#", "")}</th>`)}</tr></thead>
	<tbody>${rows}</tbody>
</table>`;

/** @type {Is.facts} */
export const facts = (list) => html`<dl class="facts">
	${list.filter(([, value]) => value || value === 0).map(([label, value]) => html`<div><dt>${label}</dt><dd>${value}</dd></div>`)}
</dl>`;

/** @type {Is.section} */
export const section = (title, content, kind = "") => html`<section class=${kind} aria-label=${title}><h2>${title}</h2>${content}</section>`;

/** @type {Is.block} */
export const block = (text, name, shown = text) =>
	html`<div class="block"><pre tabindex="0" role="group" aria-label=${name}>${shown}</pre>${copyButton(text)}</div>`;

export const loading = hint("Loading…");

/** @type {Is.told} */
export function told(error, pause) {
	const { message, field, retryAfter } = Problem.of(error);
	const text = field ? (message.startsWith(field) ? message : `${field}: ${message}`) : message.charAt(0).toUpperCase() + message.slice(1);
	return text + (/[.!?…]$/.test(text) ? "" : ".") + (pause ? ` Trying again in ${Math.round(pause)} s.` : retryAfter ? ` Try again in ${retryAfter} s.` : "");
}

/** @param {string} text */
export const problemBox = (text) => (text ? html`<p class="problem" role="alert">${text}</p>` : "");

/** @type {Is.emptyState} */
export const emptyState = (title, text, command) => html`<div class="empty">
	<p><b>${title}</b></p>
	<p>${text}</p>
	${command ? block(command, "Command") : ""}
</div>`;

/** @type {Is.needs} */
export const needs = (what, permission) => hint(html`Your key cannot ${what}: it needs <code>${permission}</code>.`);

/** @type {Is.emptyList} */
export function emptyList(user, title, text, command) {
	if (!session.me?.permissions.some((it) => /^(view|\*):/.test(it))) return emptyState(title, needs("see runs", "view:*"));
	const whose = session.me.is_admin && !user ? "Name a user above to see all of theirs. " : "";
	return emptyState(title, html`${whose}${text}`, command);
}

/** @type {Is.button} */
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

/** @type {Is.copyButton} */
export const copyButton = (text, label = "Copy", kind) => button(label, () => navigator.clipboard.writeText(text), "Copied.", kind);

/** @type {Is.head} */
export const head = (name, status, id, buttons) => html`<div class="head">
	<div><h1>${name} ${badge(status)}</h1><p><code>${id}</code> ${copyButton(id, "Copy id")}</p></div>
	<div class="buttons">${buttons}</div>
</div>`;

/** @type {Is.form} */
export function form(content, apply, kind = "filters", atChange = false) {
	const submit = (/** @type {On<HTMLFormElement>} */ event) => {
		event.preventDefault();
		// Half a date would be none.
		if (event.currentTarget.reportValidity()) apply(Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, String(value).trim()])));
	};
	return html`<form class=${kind} @submit=${submit} @change=${atChange ? submit : nothing}>${content}</form>`;
}

/** @type {Is.input} */
export const input = (label, name, value, hint, type = "text") =>
	html`<label>${label} <input name=${name} type=${type} .value=${value} placeholder=${hint} step="any" spellcheck="false" autocomplete="off"></label>`;

/** Whose things are shown, for who may see others'. @param {string} user */
export const userInput = (user) => (session.me?.is_admin ? input("User", "user", user, "yourself") : "");

/** @type {Is.notify} */
export function notify(text, isBad) {
	if (!text) return;
	const notice = document.createElement("div");
	notice.className = isBad ? "notice bad" : "notice";
	const close = () => notice.remove();
	render(html`<span>${text}</span><button type="button" class="link" aria-label="Dismiss" @click=${close}>×</button>`, notice);
	document.getElementById("notices")?.append(notice);
	if (!isBad) setTimeout(close, 6_000);
}

/** @type {Is.confirmed} */
export const confirmed = (question, verb, action) => async () => {
	const dialog = document.createElement("dialog");
	dialog.ariaLabel = question;
	const buttons = [button("Back", () => dialog.close(), "", ""), button(verb, () => dialog.close(verb), "", "danger")];
	render(html`<p>${question}</p><div class="buttons">${buttons}</div>`, dialog);
	document.body.append(dialog);
	dialog.showModal();
	await new Promise((closed) => (dialog.onclose = closed));
	dialog.remove();
	return dialog.returnValue !== "" && action();
};

const MOST_SHOWN = 200_000;

/** Shows a JSON value as text. @param {string} name */
export function valueBlock(name) {
	let [text, out] = ["", ""];
	return (/** @type {string} */ next) => {
		if (next !== text) [text, out] = [next, next.startsWith('"') ? JSON.parse(next) : pretty(next)];
		return block(out, name, out.length > MOST_SHOWN ? `${out.slice(0, MOST_SHOWN)}…\n\nThe rest of it is in a copy.` : out);
	};
}
