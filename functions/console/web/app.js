/** The page: who is signed in, which view the address names, and the frame around it. */

import { html, nothing, render } from "./lit-html.js";
import { agentView, agentsView } from "./agents.js";
import { Problem, get, poll, session } from "./api.js";
import { batchView } from "./batch.js";
import { begin, finish } from "./login.js";
import { questionsView } from "./questions.js";
import { runView } from "./run.js";
import { runsView } from "./runs.js";
import { subscriptionsView } from "./subscriptions.js";
import { button, drawn, emptyState, form, href, loading, problemBox, screen, told, update } from "./ui.js";

/** By their names in the address. */
const LISTS = new Map([["runs", runsView], ["questions", questionsView], ["agents", agentsView], ["subscriptions", subscriptionsView]]);
/** The views of one thing. */
const SINGLE = new Map([["runs", runView], ["agents", agentView], ["batches", batchView]]);

const app = /** @type {HTMLElement} */ (document.getElementById("app"));
let opened = new AbortController();
/** Draws the view that is open. @type {(() => unknown) | null} */
let view = null;
/** What it is drawn into: each view into its own. */
let main = document.createElement("div");
let [name, path] = ["", ""];
/** Whose things are shown; the visitor's if it is blank. */
let user = "";
/** Why the visitor has to sign in, or waits. */
let reason = "";
/** Where one can sign in without a key. @type {Issuer | null} */
let issuer = null;
/** Until it is known whether somebody comes back from there. */
let isReturning = true;

function draw() {
	screen.isDue = false;
	if (view) main = drawn(view, main);
	render(session.key ? frame() : isReturning ? loading : signIn(), app);
	document.title = `${app.querySelector("h1")?.textContent?.replace(/\s+/g, " ").trim() ?? "Console"} · agent-relay`;
}

const frame = () => html`
	<header>
		<a class="brand" href="#/runs">agent-relay</a>
		<nav aria-label="Views">
			${[...LISTS.keys()].map((it) => html`<a href=${href([it], ["runs", "questions"].includes(it) ? { user } : {})} aria-current=${it === name ? "page" : nothing}>${it}</a>`)}
		</nav>
		${form(html`<input name="id" aria-label="Open a run or batch by its id" placeholder="Run or batch id" spellcheck="false" autocomplete="off">`, jump, "jump")}
		<div class="who">
			${session.me ? html`<span title=${session.me.permissions.join(" ")}>${session.me.user_id}</span>` : ""}
			${button("Sign out", () => leave(""))}
		</div>
	</header>
	<main id="main" tabindex="-1">
		${view && reason ? [problemBox(reason), button("Sign in again", () => leave(reason))] : ""}
		${view ? main : reason ? problemBox(reason) : loading}
	</main>
`;

const signIn = () => html`<main class="alone">${form(html`
	<h1>agent-relay</h1>
	${issuer ? html`<p>${button(`Sign in with ${new URL(issuer.authorize_url).host}`, begin.bind(null, issuer), "", "primary")}</p>` : ""}
	<label for="key">API key</label>
	<input id="key" name="key" type="password" autocomplete="off" spellcheck="false" required autofocus>
	${problemBox(reason)}
	<button class="primary">Sign in</button>
	<p class="hint">The key stays in this tab. An operator creates keys with <code>relayctl keys create</code>.</p>`, tryKey, "card")}</main>`;

/** @param {Given} given */
function tryKey({ key }) {
	[session.key, reason] = [key, ""];
	enter();
}

/** Ends what belongs to the view that was open. */
function close() {
	opened.abort();
	opened = new AbortController();
	document.querySelector("dialog")?.close();
	return opened.signal;
}

/** @param {string} why */
function leave(why) {
	const signal = close();
	session.signOut();
	[view, path, user, reason] = [null, "", "", why];
	poll(async () => void (issuer = (await get("console/login.json", signal)).data), signal, update);
	update();
}

/** @param {Given} given */
function jump({ id }) {
	// An agent may be called "batch", and its runs have ULIDs.
	if (id) location.hash = href([/^mcp-batch-[0-9a-f]{32}$/.test(id) ? "batches" : "runs", id]);
}

/** Opens the view that the address names. */
function open() {
	if (!session.me) return;
	const signal = close();
	const before = path;
	const [, first, second, search] = /^#\/([^/?]*)\/?([^?]*)\??(.*)$/.exec(location.hash) ?? ["", "", "", ""];
	name = first || "runs";
	path = `${name}/${second}`;
	if (path !== before) main = document.createElement("div");
	const opener = (second ? SINGLE : LISTS).get(name) ?? (() => notFound);
	// It decodes, and refuses nothing.
	const id = new URLSearchParams(`id=${second}`).get("id") ?? "";
	const query = new URLSearchParams(search);
	if (!second) user = query.get("user") ?? "";
	view = opener(pageOf(id, query, signal));
	draw();
	if (before && path !== before) {
		scrollTo(0, 0);
		document.getElementById("main")?.focus({ preventScroll: true });
	}
}

/** @type {Is.pageOf} */
function pageOf(id, query, signal) {
	let failure = "";
	return {
		id, query, signal,
		state: (isLoaded) => (failure ? problemBox(failure) : isLoaded ? "" : loading),
		poll: (task) =>
			poll(task, signal, (problem, pause) => {
				failure = problem ? told(problem, pause) : "";
				update();
			}),
	};
}

const notFound = () => html`<h1>Not found</h1>${emptyState("There is no such page.", html`Go to the <a href="#/runs">runs</a>.`)}`;

session.onRefused = (why) => {
	if (!session.me) return;
	const isOver = Date.parse(session.me.expires_at ?? "") <= Date.now();
	reason = isOver ? "Your sign-in has expired." : told(new Problem(401, why));
	// What is typed stays to be seen.
	opened.abort();
	update();
};
addEventListener("hashchange", open);
screen.draw = draw;

/** Goes on with the key or token of this tab. */
function enter() {
	isReturning = false;
	if (!session.key) return leave(reason);
	const { signal } = opened;
	const signIn = async () => {
		await session.signIn(signal);
		reason = "";
		open();
	};
	poll(signIn, signal, (problem, pause) => {
		if (problem && !pause) leave(told(problem));
		else if (problem) reason = told(problem, pause);
		update();
	});
	update();
}

update();
finish()
	.then((token) => (session.key = token ?? session.key))
	.catch((error) => (reason = told(error)))
	.then(enter);
