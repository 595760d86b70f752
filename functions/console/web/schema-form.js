/** A form for a JSON Schema. What its fields cannot say can be written as JSON. */

import { html, nothing } from "./lit-html.js";
import { Problem } from "./api.js";
import { pretty } from "./json.js";
import { fieldAt, fieldOf, hasErrors, valueOf } from "./schema.js";
import { block, problemBox, told, update } from "./ui.js";

/** @type {Is.schemaForm} */
export function schemaForm(schema, path, label, isRequired = true) {
	const place = { path, label, isRequired };
	const asJson = () => ({ ...fieldOf("true", place), text: schema });
	let form = asJson();
	try {
		form = fieldOf(schema, place);
	} catch {
		// What no field can be made of is written as JSON, too.
	}
	let current = form;

	function toggle() {
		const value = current === form && valueOf(form);
		current = current === form ? asJson() : form;
		if (value && !hasErrors(form)) current.value = pretty(value);
		update();
	}

	return {
		render: () => html`
			${fieldView(current)}
			${form.kind === "json" || !label
				? ""
				: html`<p><button type="button" class="link" @click=${toggle}>${current !== form ? "Discard this, and use the form" : "Write it as JSON"}</button></p>`}`,

		value() {
			const value = valueOf(current);
			refuseHalves(current);
			return value;
		},

		hasErrors: () => hasErrors(current),

		refuse(problem) {
			const field = problem.field && fieldAt(current, problem.field);
			if (!field || !field.path) return false;
			field.error = told(problem);
			return true;
		},
	};
}

/** @type {Is.submitForm} */
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

/** @type {Is.pairs} */
export function pairs(lines, separator) {
	const split = (/** @type {string} */ line) => {
		const [key, ...rest] = line.split(separator);
		return [key.trim(), rest.join(separator).trim()];
	};
	return lines && JSON.stringify(Object.fromEntries(JSON.parse(lines).map(split)));
}

/** Half a date is no value to its control. @param {Field} field */
function refuseHalves(field) {
	const control = /** @type {HTMLInputElement | null} */ (document.getElementById(field.id));
	if (control?.validity?.badInput) field.error = "Complete this, or clear it.";
	field.fields.forEach(refuseHalves);
}

/** @param {Field} field @returns {unknown} */
function fieldView(field) {
	const { id, kind, value, label, schema } = field;
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
			${label ? html`<legend>${label} ${optional}</legend>` : ""}
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
				? html`<input id=${id} type=${field.type} .value=${value} inputmode=${(schema?.minimum ?? schema?.exclusiveMinimum) >= 0 ? "decimal" : nothing} step="any"
						autocomplete=${schema?.format === "name" ? "name" : "off"} aria-describedby=${described} aria-invalid=${invalid} @input=${type}>`
				: html`<textarea id=${id} class=${kind} rows=${kind === "json" ? 4 : 2} .value=${value} spellcheck=${kind === "long"}
						placeholder=${kind === "lines" ? "One per line" : kind === "json" ? "JSON" : ""}
						aria-describedby=${described} aria-invalid=${invalid} @input=${type}></textarea>`;
	const rules = kind === "json" && !/^(true|{})$/.test(field.text) ? html`<details><summary>What is allowed</summary>${block(pretty(field.text), "Schema")}</details>` : "";
	return html`<div class="field"><label for=${id}>${label} ${optional}</label> ${hint} ${control} ${error} ${rules}</div>`;
}
