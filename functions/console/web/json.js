/** Valid JSON as text: `JSON.parse` would round numbers beyond 2^53. Nothing calls itself, however deep a value is. */

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[^\s"{}[\],:]+|\S/g;

const opens = (/** @type {string | undefined} */ token) => token === "{" || token === "[";
const closes = (/** @type {string} */ token) => token === "}" || token === "]";

/** @param {string} text */
const tokens = (text) => text.match(TOKEN) ?? [];

/** @type {Is.entries} */
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

/** @type {Is.member} */
export const member = (text, name) => entries(text).findLast(([it]) => it === name)?.[1];

/** @type {Is.within} */
export function within(text, ...path) {
	for (const key of path) text = member(text, String(key));
	return text === "null" ? undefined : text;
}

/** @type {Is.object} */
export function object(members) {
	const given = Object.entries(members).filter(([, value]) => value !== undefined);
	return `{${given.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")}}`;
}

const WIDTH = 88;
const DEEPEST_INDENT = 24;

/** @type {Is.pretty} */
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
