// @ts-check
/**
 * JSON as text, so that numbers keep each digit: `JSON.parse` would round those beyond 2^53. It has been read before, so
 * it is valid. Nothing here calls itself, since a value may be nested as deep as it likes.
 */

const SPACE = /\s*/y;
const WORD = /[^\s"{}[\],:]+|./y;

/** Where the next match of a sticky pattern ends. @param {RegExp} pattern @param {string} text @param {number} at */
function endOf(pattern, text, at) {
	pattern.lastIndex = at;
	pattern.test(text);
	return pattern.lastIndex;
}

/** @param {string} text @param {number} at */
function tokenEnd(text, at) {
	if (text[at] !== '"') return endOf(WORD, text, at);
	let end = at + 1;
	while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
	return end + 1;
}

const opens = (/** @type {string} */ token) => token === "{" || token === "[";
const closes = (/** @type {string} */ token) => token === "}" || token === "]";

/** @param {string} text */
export function tokens(text) {
	const found = [];
	for (let at = endOf(SPACE, text, 0), end; at < text.length; at = endOf(SPACE, text, end)) {
		end = tokenEnd(text, at);
		found.push(text.slice(at, end));
	}
	return found;
}

/**
 * The texts of what an array or an object holds, each with its index or name; none of anything else.
 * @param {string | undefined} text
 */
export function entries(text = "") {
	const found = /** @type {[string, string][]} */ ([]);
	let at = endOf(SPACE, text, 0);
	const isObject = text[at] === "{";
	if (!isObject && text[at] !== "[") return found;
	at = endOf(SPACE, text, at + 1);
	while (at < text.length && !closes(text[at])) {
		let key = String(found.length);
		if (isObject) {
			const end = tokenEnd(text, at);
			key = JSON.parse(text.slice(at, end));
			at = endOf(SPACE, text, endOf(SPACE, text, end) + 1);
		}
		const start = at;
		let [depth, end] = [0, at];
		do {
			depth += opens(text[at]) ? 1 : closes(text[at]) ? -1 : 0;
			end = tokenEnd(text, at);
			at = endOf(SPACE, text, end);
		} while (depth > 0 && at < text.length);
		found.push([key, text.slice(start, end)]);
		if (text[at] === ",") at = endOf(SPACE, text, at + 1);
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
		const flat = opens(token) ? flatFrom(all, at) : undefined;
		if (flat) {
			out += flat.text;
			at = flat.end;
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

/** What opens here on one line, if it holds nothing nested and fits. @param {string[]} all @param {number} start */
function flatFrom(all, start) {
	let text = all[start];
	for (let end = start + 1; end < all.length && text.length <= WIDTH && !opens(all[end]); end++) {
		const token = all[end];
		if (closes(token)) return { text: text + token, end };
		text += token === "," || token === ":" ? `${token} ` : token;
	}
	return undefined;
}
