/** A form for a JSON Schema. What its fields cannot say, or only with difficulty, can be written as JSON instead. */

import { html, nothing } from "./lit-html.js";
import { Problem } from "./api.js";
import { pretty } from "./json.js";
import { fieldAt, fieldOf, hasErrors, valueOf } from "./schema.js";
import { problemBox, told, update } from "./ui.js";

/**
 * @param {string} schema JSON @param {string} path what the API calls the whole value
 * @param {string} [label] without one it is not offered as JSON @param {boolean} [isRequired]
 */
export function schemaForm(schema, path, label, isRequired = true) {
	const form = fieldOf(schema, { path, label, isRequired });
	/** @type {Field | undefined} */
	let asJson;
	const current = () => asJson ?? form;

	function toggle() {
		const value = valueOf(form);
		asJson = asJson ? undefined : fieldOf("true", { path, label: `${label} as JSON`, isRequired });
		if (asJson && value && !hasErrors(form)) asJson.value = pretty(value);
		update();
	}

	return {
		render: () => html`
			${current().kind === "group" ? current().fields.map(fieldView) : fieldView(current())}
			${form.kind === "json" || !label
				? ""
				: html`<p><button type="button" class="link" @click=${toggle}>${asJson ? "Discard this, and use the form" : "Write it as JSON"}</button></p>`}`,

		/** What the form says, as JSON; undefined if it says nothing or something wrong. */
		value: () => valueOf(current()),

		hasErrors: () => hasErrors(current()),

		/** Shows a problem beside its field. @param {Problem} problem @returns {boolean} whether there is one */
		refuse(problem) {
			const field = problem.field && fieldAt(current(), problem.field);
			// The fields of the whole form have no frame to show it at.
			if (!field || (field === form && field.kind === "group")) return false;
			field.error = told(problem);
			return true;
		},
	};
}

/**
 * A form that sends what its parts say, once at a time, and shows a problem where it belongs.
 * @param {SchemaForm[]} parts @param {string} verb @param {(values: (string | undefined)[]) => Promise<void>} send
 */
export function submitForm(parts, verb, send) {
	let [problem, isSending] = ["", false];

	async function submit(/** @type {On<HTMLFormElement>} */ event) {
		event.preventDefault();
		if (isSending) return;
		const form = event.currentTarget;
		const values = parts.map((part) => part.value());
		problem = "";
		if (!parts.some((part) => part.hasErrors())) {
			isSending = true;
			update();
			try {
				await send(values);
			} catch (error) {
				const failed = Problem.of(error);
				if (!parts.some((part) => part.refuse(failed))) problem = told(failed);
			}
			isSending = false;
		}
		update();
		requestAnimationFrame(() => /** @type {HTMLElement | null} */ (form.querySelector("[aria-invalid]"))?.focus());
	}

	return (/** @type {unknown} */ content) => html`<form class="card" novalidate @submit=${submit}>
		${content} ${problemBox(problem)}
		<button class="primary" aria-disabled=${isSending}>${verb}</button>
	</form>`;
}

/** An object of lines such as `key=value`. @param {string | undefined} lines a JSON array of texts @param {string} separator */
export function pairs(lines, separator) {
	const split = (/** @type {string} */ line) => {
		const [key, ...rest] = line.split(separator);
		return [key.trim(), rest.join(separator).trim()];
	};
	return lines && JSON.stringify(Object.fromEntries(JSON.parse(lines).map(split)));
}

/** @param {Field} field @returns {unknown} */
function fieldView(field) {
	const { id, kind, value } = field;
	const optional = field.isRequired ? "" : html`<span class="hint">optional</span>`;
	const hint = field.hint ? html`<p class="hint" id="${id}-hint">${field.hint}</p>` : "";
	const error = field.error ? html`<p class="error" id="${id}-error">${field.error}</p>` : "";
	const described = [field.hint && `${id}-hint`, field.error && `${id}-error`].filter(Boolean).join(" ") || nothing;
	const invalid = field.error ? "true" : nothing;
	const change = (/** @type {string} */ next) => {
		field.value = next;
		if (field.error) update();
		field.error = "";
	};
	const type = (/** @type {On<HTMLInputElement>} */ event) => change(event.target.value);
	const choose = (/** @type {On<HTMLInputElement>} */ { target }) => {
		const others = kind === "checks" ? field.value.split(" ").filter((it) => it && it !== target.value) : [];
		// In the order of the schema.
		change((target.checked ? [...others, target.value] : others).sort((a, b) => Number(a) - Number(b)).join(" "));
	};

	if (kind === "group" || kind === "yes-no" || kind === "checks") {
		// "Not set" is chosen as long as nothing else is.
		const chosen = field.options[0]?.text === "" && !value ? ["0"] : value.split(" ");
		return html`<fieldset class=${kind} aria-describedby=${described}>
			<legend>${field.label} ${optional}</legend>
			${hint} ${field.fields.map(fieldView)}
			${field.options.map((it, at) => html`<label class="check"><input type=${kind === "checks" ? "checkbox" : "radio"} name=${id} value=${at}
				.checked=${chosen.includes(String(at))} aria-invalid=${invalid} @change=${choose}> ${it.label}</label>`)}
			${error}
		</fieldset>`;
	}

	const control =
		kind === "choice"
			? html`<select id=${id} aria-describedby=${described} aria-invalid=${invalid} @change=${type}>
					<option value="" .selected=${value === ""}>${field.isRequired ? "Choose…" : "Not set"}</option>
					${field.options.map((it, at) => html`<option value=${at} .selected=${value === String(at)}>${it.label}</option>`)}
				</select>`
			: kind === "text" || kind === "number"
				? html`<input id=${id} type=${field.type} .value=${value} inputmode=${kind === "number" ? "decimal" : nothing} step="any"
						autocomplete="off" aria-describedby=${described} aria-invalid=${invalid} @input=${type}>`
				: html`<textarea id=${id} class=${kind} rows=${kind === "json" ? 4 : 2} .value=${value} spellcheck=${kind === "long"}
						placeholder=${kind === "lines" ? "One per line" : kind === "json" ? "JSON" : ""}
						aria-describedby=${described} aria-invalid=${invalid} @input=${type}></textarea>`;
	return html`<div class="field"><label for=${id}>${field.label} ${optional}</label> ${hint} ${control} ${error}</div>`;
}
