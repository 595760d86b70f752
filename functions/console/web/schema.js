/**
 * The fields that a JSON Schema asks for, and the value that they make. What fields cannot show exactly is one field for
 * JSON. Schemas and values are texts, so that numbers keep each digit.
 */

import { fromLocal, toLocal } from "./format.js";
import { entries, object, pretty, within } from "./json.js";

const NOTES = "$schema $id $comment $defs definitions title description default examples deprecated type enum";
/** What a field respects, or leaves to the API. @type {Record<string, string>} */
const KEYWORDS = {
	string: "minLength maxLength pattern format",
	number: "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf",
	array: "items minItems maxItems uniqueItems",
	object: "properties required additionalProperties",
};
/** @type {Record<string, string>} */
const CONTROLS = { date: "date", "date-time": "datetime-local", email: "email", uri: "url" };
/** What may be longer gets a larger field. */
const SHORT = 200;
const DEEPEST_GROUP = 1;
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i;
const INTEGER = /^-?(0|[1-9]\d*)$/;

let count = 0;

/** @param {any} schema @param {string} [type] */
const understands = (schema, type = schema.type) => Object.keys(schema).every((it) => `${NOTES} ${KEYWORDS[type]}`.split(" ").includes(it));
const isObject = (/** @type {any} */ it) => typeof it === "object" && it !== null && !Array.isArray(it);
const plain = (/** @type {string} */ text) => (text.startsWith('"') ? JSON.parse(text) : text);

/** The field for a schema. @param {string} whole the schema @param {Place} place @returns {Field} */
export function fieldOf(whole, { path, key = "", label = key, isRequired, depth = 0 }) {
	const other = withoutNull(whole);
	const text = other ?? whole;
	const schema = JSON.parse(text);
	const start = within(text, "default");
	/** @type {Field} */
	const field = {
		kind: "json", id: `field-${count++}`, path, key, label: String(schema?.title || label), hint: String(schema?.description ?? ""),
		isRequired, isNullable: other !== undefined, type: "text", schema, options: [], value: "", fields: [], error: "",
	};
	if (isObject(schema)) field.kind = kindOf(field, text, start, depth);
	if (field.kind === "group") {
		field.fields = entries(within(text, "properties")).map(([name, child]) =>
			fieldOf(child, { path: path ? `${path}.${name}` : name, key: name, isRequired: schema.required?.includes?.(name) ?? false, depth: depth + 1 }),
		);
	} else if (start !== undefined) field.value = written(field, start);
	return field;
}

/** A schema without null among its alternatives: `"type": ["string", "null"]`, or an `anyOf` of two. @param {string} text */
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

/** Also adds what the field needs. @param {Field} field @param {string} text @param {string | undefined} start @param {number} depth @returns {Kind} */
function kindOf(field, text, start, depth) {
	const { schema } = field;
	const { items } = schema;
	const type = schema.type === "integer" ? "number" : schema.type;
	field.options = optionsOf(text);
	if (schema.enum) return understands(schema, "") && field.options.length ? "choice" : "json";
	if (typeof type !== "string" || !understands(schema, type)) return "json";
	if (type === "string") {
		field.type = CONTROLS[schema.format] ?? "text";
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
		if (!field.isRequired && !start) field.options.unshift({ label: "Not set", text: "" });
		return "yes-no";
	}
	if (type === "array" && isObject(items) && understands(items)) {
		field.options = optionsOf(within(text, "items"));
		return field.options.length ? "checks" : items.type === "string" && !items.enum ? "lines" : "json";
	}
	return type === "object" && depth <= DEEPEST_GROUP && entries(within(text, "properties")).length ? "group" : "json";
}

/** The scalars that may be chosen; none if there are other values. @param {string | undefined} text */
function optionsOf(text) {
	const all = entries(within(text, "enum")).map(([, value]) => value);
	return all.some((value) => /^[{[]/.test(value)) ? [] : all.map((value) => ({ label: plain(value), text: value }));
}

/** How a value is written into a field. @param {Field} field @param {string} text */
function written({ kind, type, options }, text) {
	const index = (/** @type {string} */ value) => options.findIndex((it) => it.text === value);
	const items = entries(text).map(([, value]) => value);
	if (kind === "choice" || kind === "yes-no") return index(text) < 0 ? "" : String(index(text));
	if (kind === "checks") return items.map(index).filter((at) => at >= 0).join(" ");
	if (kind === "lines") return items.map(plain).join("\n");
	if (kind === "json") return pretty(text);
	return type === "datetime-local" ? toLocal(plain(text)) : plain(text);
}

/** What a field says, as JSON; undefined if that is nothing, or wrong: then it has an `error`. @param {Field} field @returns {string | undefined} */
export function valueOf(field) {
	const { kind, options } = field;
	clear(field);
	if (kind === "group") {
		if (!field.isRequired && isBlank(field)) return undefined;
		return object(Object.fromEntries(field.fields.map((it) => [it.key, valueOf(it)])));
	}
	const value = kind === "text" || kind === "long" ? field.value : field.value.trim();
	if (!value) {
		if (!field.isRequired) return undefined;
		if (kind === "checks" || kind === "lines") return "[]";
		if (field.isNullable) return "null";
		field.error = options.length ? "Choose one." : "Fill this in.";
		return undefined;
	}
	if (kind === "choice" || kind === "yes-no") return options[Number(value)].text || undefined;
	if (kind === "checks") return `[${value.split(" ").map((at) => options[Number(at)].text)}]`;
	if (kind === "lines") return JSON.stringify(value.split("\n").map((line) => line.trim()).filter(Boolean));
	if (kind === "number" && !(field.schema.type === "integer" ? INTEGER : NUMBER).test(value)) {
		field.error = field.schema.type === "integer" ? "Write a whole number." : "Write a number, such as 12 or 0.5.";
	}
	if (kind === "json") field.error = syntaxError(value);
	return kind === "number" || kind === "json" ? value : JSON.stringify(field.type === "datetime-local" ? fromLocal(value) : value);
}

/** @param {string} value */
function syntaxError(value) {
	try {
		JSON.parse(value);
		return "";
	} catch (error) {
		return `This is no JSON: ${/** @type {Error} */ (error).message}`;
	}
}

/** @param {Field} field */
function clear(field) {
	field.error = "";
	field.fields.forEach(clear);
}

const isBlank = (/** @type {Field} */ field) => !field.value && field.fields.every(isBlank);

/** @param {Field} field @returns {boolean} */
export const hasErrors = (field) => field.error !== "" || field.fields.some(hasErrors);

/** The innermost field at a place that the API names. @param {Field} field @param {string} path @returns {Field | undefined} */
export function fieldAt(field, path) {
	if (field.path && path !== field.path && !path.startsWith(`${field.path}.`)) return undefined;
	return field.fields.map((it) => fieldAt(it, path)).find(Boolean) ?? field;
}
