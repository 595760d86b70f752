/** What agents ask: a form for each open question, and the list of all of them. */

import { html } from "./lit-html.js";
import { get, list, may, path, post, session } from "./api.js";
import { entries, object, within } from "./json.js";
import { schemaForm, submitForm } from "./schema-form.js";
import { asks, drawn, emptyList, form, hint, href, needs, notify, runLink, update, userInput, whose } from "./ui.js";

const REFRESH = 10;

/** @type {Is.questionCards} */
export function questionCards(answered) {
	/** @type {Map<string, ReturnType<typeof questionCard>>} */
	let cards = new Map();
	// A card that stays is not moved: that would take the focus out of it.
	const host = document.createElement("div");

	return (all, hasLink = false) => {
		host.className = hasLink ? "cards" : "";
		const open = all.flatMap(({ run, text }) =>
			entries(within(text, "questions")).map(([, question]) => {
				const id = `${run.execution_id} ${within(question, "id")}`;
				return /** @type {const} */ ([id, cards.get(id) ?? questionCard(run, question, answered)]);
			}),
		);
		const before = cards;
		cards = new Map(open);
		for (const [id, card] of before) if (!cards.has(id)) card.gone();
		for (const card of cards.values()) card.draw(host, hasLink);
		return host;
	};
}

/** @param {Run} run @param {string} text @param {() => void} answered */
function questionCard(run, text, answered) {
	const question = /** @type {Question} */ (JSON.parse(text));
	const answer = schemaForm(within(text, "schema") ?? "true", "answer", "Answer");
	let element = document.createElement("div");
	let [isAnswered, isTouched] = [false, false];
	element.oninput = () => (isTouched = true);
	const form = submitForm([answer], "Answer", async ([value]) => {
		// Then the list may know it before we do.
		isTouched = false;
		await post(path("executions", run.execution_id, "input"), object({ question_id: JSON.stringify(question.id), answer: value }));
		isAnswered = true;
		notify("Answered. Your answer is stored.");
		document.getElementById("main")?.focus({ preventScroll: true });
		answered();
	});

	return {
		draw(/** @type {HTMLElement} */ host, /** @type {boolean} */ hasLink) {
			const asked = asks(hasLink ? html`${runLink(run)} ${whose(run)}` : run.agent_name, question);
			const card = () =>
				may("execute", run.agent_name)
					? form(html`${asked} ${answer.render()}`)
					: html`<div class="card">${asked} ${needs("answer", `execute:${run.agent_name}`)}</div>`;
			const now = drawn(() => (isAnswered ? "" : card()), element);
			if (now !== element) element.replaceWith(now);
			element = now;
			if (!element.parentNode) host.append(element);
		},
		gone() {
			element.remove();
			if (isTouched) notify(`Nobody waits any more for your answer to “${question.question.slice(0, 80)}”: it has another, or the agent has gone on.`, true);
		},
	};
}

/** @type {Opener} */
export function questionsView(page) {
	const { query, signal } = page;
	const user = query.get("user") ?? "";
	/** @type {Map<string, Asking> | undefined} */
	let asking;
	let isCut = false;

	const refresh = page.poll(async () => {
		const { found, next, pages } = await list({ open: "true", status: "input_required", owner: user, limit: "50" }, signal);
		const listed = new Map(found.toReversed().map((run) => [run.execution_id, run]));
		const now = asking ?? new Map();
		isCut = Boolean(next);
		// Those that are shown keep their places, and the oldest of the others come first. A list may lack some.
		for (const id of new Set([...now.keys(), ...listed.keys()])) {
			const [before, run] = [now.get(id), listed.get(id)];
			if (before?.run.updated_at === run?.updated_at) continue;
			const { data, text } = await get(path("executions", id), signal);
			if (data.questions?.length) now.set(id, { run: { ...(run ?? before?.run), ...data }, text });
			else now.delete(id);
			asking = now;
			update();
		}
		asking = now;
		return REFRESH * pages;
	});
	const cards = questionCards(refresh);

	return () => html`<h1>Questions</h1>
		${session.me?.is_admin ? form(html`${userInput(user)}<button class="small">Show</button>`, (given) => void (location.hash = href(["questions"], given))) : ""}
		${page.state(asking)}
		${cards([...(asking?.values() ?? [])], true)}
		${asking?.size !== 0
			? isCut ? hint("More may appear as these are answered.") : ""
			: isCut
				? emptyList(user, "None of the runs looked through waits for an answer.", html`Others may: see <a href=${href(["runs"], { user, open: "true", status: "input_required" })}>all that wait</a>.`)
				: emptyList(user, "No agent waits for an answer.", "New questions appear here, and on the pages of their runs.")}`;
}
