/** The page of an answer link: one question, and its form. The token in the address says which, and that its visitor may answer. */

import { html, render } from "./lit-html.js";
import { linked, post } from "./api.js";
import { object, within } from "./json.js";
import { schemaForm, submitForm } from "./schema-form.js";
import { emptyState, loading, problemBox, screen, time, told, update } from "./ui.js";

const NAME = JSON.stringify({ type: "string", title: "Your name", minLength: 1, maxLength: 100 });

const app = /** @type {HTMLElement} */ (document.getElementById("app"));
/** Draws what there is to see. @type {() => unknown} */
let view = () => loading;

/** @param {string} token @param {string} text of the question, with each digit */
function questionView(token, text) {
	const question = /** @type {Schemas["LinkedQuestion"]} */ (JSON.parse(text));
	if (!question.is_open) {
		return () => emptyState("Nobody waits for this answer any more.", "The question has its answer, or the agent has stopped waiting.");
	}
	const answer = schemaForm(within(text, "schema") ?? "true", "answer", "Answer");
	const name = schemaForm(NAME, "name");
	const draw = submitForm([answer, name], "Answer", async ([value, by]) => {
		await post("v1/answers", object({ token: JSON.stringify(token), answer: value, name: by }));
		view = () => emptyState("Answered. Thank you.", `${question.agent_name} goes on. You can close this page.`);
	});
	const until = question.expires_at ? html`, and waits until ${time(question.expires_at, true)}` : "";
	return () => draw(html`
		<p class="hint">${question.agent_name} asked ${time(question.asked_at)}${until}</p>
		<p class="question">${question.question}</p>
		${answer.render()} ${name.render()}`);
}

screen.draw = () => {
	screen.isDue = false;
	render(html`<main id="main" class="alone"><h1>An agent asks you</h1>${view()}</main>`, app);
};

async function open() {
	const token = location.hash.slice(1);
	view = () => loading;
	update();
	try {
		view = questionView(token, (await linked(token)).text);
	} catch (error) {
		const problem = problemBox(told(error));
		view = () => html`${problem}<p class="hint">The link may be incomplete, or too old. Ask whoever sent it for another one.</p>`;
	}
	update();
}

addEventListener("hashchange", open);
void open();
