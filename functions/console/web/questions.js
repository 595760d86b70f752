/** What agents ask: a form for each open question, and the list of all of them. */

import { html, render } from "./lit-html.js";
import { get, list, may, path, post, session } from "./api.js";
import { entries, object, within } from "./json.js";
import { schemaForm, submitForm } from "./schema-form.js";
import { emptyState, form, href, input, notify, runLink, time } from "./ui.js";

const REFRESH = 10;
const AT_ONCE = 5;

/** Cards of open questions. Each keeps what is typed into it, wherever it stands. @param {() => void} answered is called after each answer */
export function questionCards(answered) {
	/** @type {Map<string, ReturnType<typeof questionCard>>} */
	const cards = new Map();

	/** @param {Run} run @param {string} text of the run, with each digit @param {boolean} [hasLink] names the run */
	return (run, text, hasLink = false) =>
		entries(within(text, "questions")).map(([, question]) => {
			const id = `${run.execution_id} ${within(question, "id")}`;
			const card = cards.get(id) ?? questionCard(run, question, answered);
			cards.set(id, card);
			return card(hasLink);
		});
}

/** @param {Run} run @param {string} text @param {() => void} answered */
function questionCard(run, text, answered) {
	const question = /** @type {Question} */ (JSON.parse(text));
	const element = document.createElement("div");
	const answer = schemaForm(within(text, "schema") ?? "true", "answer", "Answer");
	let isAnswered = false;
	const draw = submitForm([answer], "Answer", async ([value]) => {
		await post(path("executions", run.execution_id, "input"), object({ question_id: JSON.stringify(question.id), answer: value }));
		isAnswered = true;
		notify(`Answered. ${run.agent_name} goes on.`);
		document.getElementById("main")?.focus({ preventScroll: true });
		answered();
	});

	return (/** @type {boolean} */ hasLink) => {
		const until = question.expires_at ? html`, and waits until ${time(question.expires_at, true)}` : "";
		const asked = html`
			<p class="hint">${hasLink ? runLink(run) : run.agent_name} asked ${time(question.asked_at)}${until}</p>
			<p class="question">${question.question}</p>`;
		const card = may("execute", run.agent_name)
			? draw(html`${asked} ${answer.render()}`)
			: html`<div class="card">${asked}<p class="hint">Your key cannot answer: it needs <code>execute:${run.agent_name}</code>.</p></div>`;
		render(isAnswered ? "" : card, element);
		return element;
	};
}

/** @type {Opener} */
export function questionsView(page) {
	const { query, signal } = page;
	const user = query.get("user") ?? "";
	/** @type {Map<string, { run: Run, text: string }> | undefined} */
	let asking;
	let isCut = false;

	const refresh = page.poll(async () => {
		const { runs, next } = await list({ status: "input_required", owner: user, limit: "50" }, signal);
		// Those that are shown keep their places, and the oldest of the others come first.
		const now = new Map([...(asking ?? [])].filter(([id]) => runs.some((run) => run.execution_id === id)));
		const oldest = runs.toReversed();
		for (let at = 0; at < oldest.length; at += AT_ONCE) {
			const some = oldest.slice(at, at + AT_ONCE).map(async (run) => {
				const known = now.get(run.execution_id);
				const isSame = known?.run.updated_at === run.updated_at;
				return { run, text: isSame ? known.text : (await get(path("executions", run.execution_id), signal)).text };
			});
			for (const one of await Promise.all(some)) now.set(one.run.execution_id, one);
		}
		asking = now;
		isCut = Boolean(next);
		return REFRESH;
	});
	const cards = questionCards(refresh);

	return () => html`<h1>Questions</h1>
		${session.me?.is_admin ? form(html`${input("User", "user", user, "yourself")}<button class="small">Show</button>`, (given) => void (location.hash = href(["questions"], given))) : ""}
		${page.state(asking)}
		<div class="cards">${[...(asking?.values() ?? [])].flatMap(({ run, text }) => cards(run, text, true))}</div>
		${asking?.size === 0 ? emptyState("No agent waits for an answer.", "New questions appear here, and on the pages of their runs.") : ""}
		${isCut ? html`<p class="hint">There are more. They appear as these are answered.</p>` : ""}`;
}
