/** The page of an answer link: one question, and its form. The token in the address says which, and that its visitor may answer. */

import { html, render } from "./lit-html.js";
import { poll, post, send } from "./api.js";
import { object, within } from "./json.js";
import { schemaForm, submitForm } from "./schema-form.js";
import { asks, drawn, loading, problemBox, screen, told, update } from "./ui.js";

const NAME = JSON.stringify({ type: "string", format: "name", title: "Your name", minLength: 1, maxLength: 100 });
/** How often the page asks whether the question is still open, in seconds. */
const REFRESH = 15;
const TITLE = "An agent asks you";

const app = /** @type {HTMLElement} */ (document.getElementById("app"));
let opened = new AbortController();
let [title, failure] = [TITLE, ""];
/** Whether an answer was sent from here, perhaps without a receipt. */
let isSent = false;
/** Draws what there is to see. @type {() => unknown} */
let view = () => loading;
let content = document.createElement("div");

/** @param {string} token @param {string} text of the question, with each digit */
function questionView(token, text) {
	const question = /** @type {Schemas["LinkedQuestion"]} */ (JSON.parse(text));
	const answer = schemaForm(within(text, "schema") ?? "true", "answer", "Answer");
	const name = schemaForm(NAME, "name");
	const draw = submitForm([answer, name], "Answer", async ([value, by]) => {
		isSent = true;
		await post("v1/answers", object({ token: JSON.stringify(token), answer: value, name: by }));
		end("Answered. Thank you.", () => html`<p>Your answer to ${question.agent_name} is stored. You can close this page.</p>`);
	});
	return () => draw(html`${asks(question.agent_name, question)} ${answer.render()} ${name.render()}`);
}

/** Shows the last that there is to see, and takes the focus there: a screen reader reads it then. @param {string} heading @param {() => unknown} last */
function end(heading, last) {
	opened.abort();
	[title, failure, view] = [heading, "", last];
	screen.draw();
	app.querySelector("h1")?.focus();
}

screen.draw = () => {
	screen.isDue = false;
	document.title = title;
	content = drawn(view, content);
	render(html`<main id="main" class="alone"><h1 tabindex="-1">${title}</h1>${problemBox(failure)}${content}</main>`, app);
};

function open() {
	opened.abort();
	opened = new AbortController();
	const { signal } = opened;
	const token = location.hash.slice(1);
	let isShown = (isSent = false);
	[title, failure, view] = [TITLE, "", () => loading];
	const look = async () => {
		const { data, text } = await send("v1/answers", { key: "", headers: { "answer-token": token }, signal });
		if (!data.is_open) {
			return end("Nobody waits for this answer any more.", () => html`<p>The question has its answer${isSent ? ", perhaps the one that you sent" : ""}, or the agent has stopped waiting.</p>`);
		}
		if (!isShown) view = questionView(token, text);
		isShown = true;
		return REFRESH;
	};
	poll(look, signal, (problem, pause) => {
		failure = problem ? told(problem, pause) : "";
		// Only then it is the link's fault.
		if (problem && [404, 409].includes(problem.status)) {
			view = () => html`<p class="hint">The link may be incomplete, or too old. Ask whoever sent it for another one.</p>`;
		} else if (problem && !isShown) view = () => "";
		update();
	});
	update();
}

addEventListener("hashchange", open);
open();
