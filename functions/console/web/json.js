/**
 * JSON as text, so that numbers keep each digit: `JSON.parse` would round those beyond 2^53. It has been read before, so
 * it is valid. Nothing here calls itself, since a value may be nested as deep as it likes.
 */

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[^\s"{}[\],:]+|\S/g;

const opens = (/** @type {string | undefined} */ token) => token === "{" || token === "[";
const closes = (/** @type {string} */ token) => token === "}" || token === "]";

/** @param {string} text */
const tokens = (text) => text.match(TOKEN) ?? [];

/** The texts of what an array or an object holds, each with its index or name; none of anything else. @param {string | undefined} text */
export function entries(text = "") {
	const found = /** @type {[string, string][]} */ ([]);
	const all = tokens(text);
	let [depth, key, value] = [0, "", ""];
	for (const token of opens(all[0]) ? all.slice(1) : []) {
		const isOuter = depth === 0;
		if (isOuter && (token === "," || closes(token))) {
			if (value) found.push([all[0] === "{" ? key : String(found.length), value]);
			value = "";
		} else if (isOuter && token === ":") {
			key = JSON.parse(value);
			value = "";
		} else {
			depth += opens(token) ? 1 : closes(token) ? -1 : 0;
			value += token;
		}
	}
	return found;
}

/** The text of a value within, if it is there and not null. @param {string | undefined} text @param {...(string | number)} path */
export function within(text, ...path) {
	for (const key of path) text = entries(text).findLast(([name]) => name === String(key))?.[1];
	return text === "null" ? undefined : text;
}

/** An object of texts of values, without those that are undefined. @param {Record<string, string | undefined>} members */
export function object(members) {
	const given = Object.entries(members).filter(([, value]) => value !== undefined);
	return `{${given.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")}}`;
}

const WIDTH = 88;
const DEEPEST_INDENT = 24;

/** The same value with line breaks and indents; what is short and flat stays on one line. @param {string} text */
export function pretty(text) {
	const all = tokens(text);
	let [out, depth] = ["", 0];
	const newLine = () => `\n${"  ".repeat(Math.min(depth, DEEPEST_INDENT))}`;
	for (let at = 0; at < all.length; at++) {
		const token = all[at];
		const near = opens(token) ? all.slice(at, at + WIDTH) : [];
		const end = near.findIndex((it, index) => index > 0 && (opens(it) || closes(it)));
		const flat = near.slice(0, end + 1).map((it) => (it === "," || it === ":" ? `${it} ` : it)).join("");
		if (closes(near[end]) && flat.length <= WIDTH) {
			out += flat;
			at += end;
		} else if (opens(token)) {
			depth++;
			out += token + newLine();
		} else if (closes(token)) {
			depth--;
			out += newLine() + token;
		} else out += token === "," ? token + newLine() : token === ":" ? ": " : token;
	}
	return out;
}
