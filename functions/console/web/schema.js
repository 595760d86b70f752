/** The fields that a JSON Schema asks for, and the value that they make: as texts, so that numbers keep each digit. */

import { fromLocal, toLocal } from "./format.js";
import { entries, member, object, pretty, within } from "./json.js";

const NOTES = "$schema $id $comment $defs definitions title description default examples deprecated type";
/** What a field respects, or leaves to the API. */
const KEYWORDS = new Map([
	["string", "minLength maxLength pattern format"],
	["number", "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"],
	["array", "items minItems maxItems uniqueItems"],
	["object", "properties required additionalProperties"],
]);
const CONTROLS = new Map([["date", "date"], ["date-time", "datetime-local"], ["email", "email"], ["uri", "url"]]);
/** What may be longer gets a larger field. */
const SHORT = 200;
const DEEPEST_GROUP = 1;
/** Of all groups together: a schema may refer to itself. */
const MOST_FIELDS = 200;
const MOST_REFERENCES = 20;
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i;
const INTEGER = /^-?(0|[1-9]\d*)$/;

let [count, left] = [0, 0];

const understands = (/** @type {any} */ schema, /** @type {string} */ type) =>
	Object.keys(schema).every((it) => `${NOTES} ${KEYWORDS.get(type)}`.split(" ").includes(it));
const isObject = (/** @type {any} */ it) => typeof it === "object" && it !== null && !Array.isArray(it);
const plain = (/** @type {string} */ text) => (text.startsWith('"') ? JSON.parse(text) : text);

/** @type {Is.fieldOf} */
export function fieldOf(whole, { path, key = "", label = key, isRequired, depth = 0, root = whole, start }) {
	if (!depth) left = MOST_FIELDS;
	const given = resolved(whole, root);
	const other = withoutNull(given);
	const text = other ? resolved(other, root) : given;
	const schema = JSON.parse(text);
	start ??= within(text, "default") ?? (isRequired ? within(text, "const") : undefined);
	/** @type {Field} */
	const field = {
		kind: "json", id: `field-${count++}`, path, key, label: String(schema?.title || label), hint: String(schema?.description ?? ""),
		isRequired, isNullable: other !== undefined, type: "text", schema, text: text.includes('"$ref"') ? root : text, options: [], value: "", fields: [], error: "",
		start: start === undefined ? undefined : { text: start, value: "" },
	};
	if (isObject(schema)) field.kind = kindOf(field, text, root, depth);
	if (field.kind === "group") {
		const members = entries(within(text, "properties"));
		left -= members.length;
		field.fields = members.map(([name, child]) =>
			fieldOf(child, {
				path: path ? `${path}.${name}` : name, key: name, isRequired: schema.required?.includes?.(name) ?? false, depth: depth + 1, root,
				start: within(start, name),
			}),
		);
	} else if (field.start) {
		// What such a control has no room for is a text.
		if (field.type === "datetime-local" && !toLocal(plain(field.start.text))) field.type = "text";
		field.value = field.start.value = written(field, field.start.text);
	}
	return field;
}

/** @type {Is.resolved} */
function resolved(text, root) {
	for (let left = MOST_REFERENCES; left; left--) {
		const reference = JSON.parse(text)?.$ref;
		if (typeof reference !== "string" || !/^#(\/|$)/.test(reference)) break;
		const path = reference.split("/").slice(1).map((it) => decodeURIComponent(it).replaceAll("~1", "/").replaceAll("~0", "~"));
		const target = within(root, ...path);
		if (target === undefined) break;
		const beside = entries(text).filter(([name]) => name !== "$ref");
		text = beside.length ? object(Object.fromEntries([...entries(target), ...beside])) : target;
	}
	return text;
}

/** @type {Is.withoutNull} */
function withoutNull(text) {
	const { type, anyOf } = JSON.parse(text) ?? {};
	const rest = entries(text).filter(([name]) => name !== "type" && name !== "anyOf");
	const joined = (/** @type {[string, string][]} */ more) => object(Object.fromEntries([...rest, ...more]));
	if (Array.isArray(type) && type.length === 2 && type.includes("null") && !anyOf) {
		return joined([["type", JSON.stringify(type.find((it) => it !== "null"))]]);
	}
	const none = Array.isArray(anyOf) && anyOf.length === 2 && !type ? anyOf.findIndex((it) => it?.type === "null") : -1;
	return none < 0 ? undefined : joined(entries(within(text, "anyOf", 1 - none)));
}

/** @type {Is.kindOf} */
function kindOf(field, text, root, depth) {
	const { schema } = field;
	const type = schema.type === "integer" ? "number" : schema.type;
	field.options = optionsOf(text);
	// What else it says can only take some of them away.
	if (field.options.length) return "choice";
	if (typeof type !== "string" || !understands(schema, type)) return "json";
	if (type === "string") {
		field.type = CONTROLS.get(schema.format) ?? "text";
		return schema.format || schema.pattern || schema.maxLength <= SHORT ? "text" : "long";
	}
	if (type === "number") {
		for (const [name, words] of [["minimum", "At least"], ["maximum", "At most"]]) {
			if (name in schema) field.hint += ` ${words} ${within(text, name)}.`;
		}
		return "number";
	}
	if (type === "boolean") {
		field.options = [{ label: "Yes", text: "true" }, { label: "No", text: "false" }];
		if (!field.isRequired && !field.start) field.options.unshift({ label: "Not set", text: "" });
		return "yes-no";
	}
	if (type === "array" && isObject(schema.items)) {
		const items = resolved(within(text, "items") ?? "", root);
		const rules = JSON.parse(items);
		field.options = optionsOf(items);
		return field.options.length ? "checks" : rules.type === "string" && understands(rules, "string") ? "lines" : "json";
	}
	const size = entries(within(text, "properties")).length;
	return type === "object" && depth <= DEEPEST_GROUP && size && size <= left ? "group" : "json";
}

/** @type {Is.optionsOf} */
function optionsOf(text) {
	const titled = entries(within(text, "oneOf") ?? within(text, "anyOf")).map(([, it]) => [member(it, "const"), within(it, "title")]);
	const listed = entries(within(text, "enum")).map(([, value]) => [value]);
	const fixed = member(text, "const");
	const all = listed.length ? listed : fixed ? [[fixed]] : titled;
	return all.every(([value]) => value && !/^[{[]/.test(value)) ? all.map(([value = "", title = value]) => ({ label: plain(title), text: value })) : [];
}

/** @type {Is.written} */
function written({ kind, type, options }, text) {
	const index = (/** @type {string} */ value) => options.findIndex((it) => it.text === value);
	const items = entries(text).map(([, value]) => value);
	if (kind === "choice" || kind === "yes-no") return index(text) < 0 ? "" : String(index(text));
	if (kind === "checks") return items.map(index).filter((at) => at >= 0).join(" ");
	if (kind === "lines") return items.map(plain).join("\n");
	if (kind === "json") return pretty(text);
	return type === "datetime-local" ? toLocal(plain(text)) : plain(text);
}

/** @type {Is.valueOf} */
export function valueOf(field) {
	const { kind, options, start } = field;
	clear(field);
	const isSame = !isChanged(field);
	// A default is sent as it was: its control may round it.
	if (isSame && start && field.value) return start.text;
	if (kind === "group") {
		if (!field.isRequired && isBlank(field)) return undefined;
		const value = object(Object.fromEntries(field.fields.map((it) => [it.key, valueOf(it)])));
		if (field.isRequired || !isSame || !hasErrors(field)) return isSame && start ? start.text : value;
		// The defaults within it alone are no reason to ask for the rest.
		clear(field);
		return undefined;
	}
	const value = kind === "text" || kind === "long" ? field.value : field.value.trim();
	if (!value) {
		if ((kind === "checks" || kind === "lines") && (field.isRequired || !isSame)) return "[]";
		if (!field.isRequired) return undefined;
		if (field.isNullable) return "null";
		field.error = options.length ? "Choose one." : "Fill this in.";
		return undefined;
	}
	if (kind === "choice" || kind === "yes-no") return options[Number(value)].text || undefined;
	if (kind === "checks") return `[${value.split(" ").map((at) => options[Number(at)].text)}]`;
	if (kind === "lines") return JSON.stringify(value.split("\n").map((line) => line.trim()).filter(Boolean));
	const [pattern, hint] = field.schema.type === "integer" ? [INTEGER, "Write a whole number."] : [NUMBER, "Write a number, such as 12 or 0.5."];
	if (kind === "number" && !pattern.test(value)) field.error = hint;
	try {
		if (kind === "json") JSON.parse(value);
	} catch (error) {
		field.error = `This is no JSON: ${/** @type {Error} */ (error).message}`;
	}
	return kind === "number" || kind === "json" ? value : JSON.stringify(field.type === "datetime-local" ? fromLocal(value) : value);
}

/** @param {Field} field */
function clear(field) {
	field.error = "";
	field.fields.forEach(clear);
}

const isBlank = (/** @type {Field} */ field) => !field.value && field.fields.every(isBlank);
const isChanged = (/** @type {Field} */ field) => field.value !== (field.start?.value ?? "") || field.fields.some(isChanged);

/** @param {Field} field @returns {boolean} */
export const hasErrors = (field) => field.error !== "" || field.fields.some(hasErrors);

/** @type {Is.fieldAt} */
export function fieldAt(field, path) {
	if (field.path && path !== field.path && !path.startsWith(`${field.path}.`)) return undefined;
	return field.fields.map((it) => fieldAt(it, path)).find(Boolean) ?? field;
}
