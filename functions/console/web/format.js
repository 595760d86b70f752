/** Times, durations and commands, as people read and shells take them. */

const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** @type {Is.duration} */
export function duration(ms) {
	if (ms < SECOND) return `${Math.max(0, Math.round(ms))} ms`;
	if (ms < 9_950) return `${(ms / SECOND).toFixed(1)} s`;
	if (ms < MINUTE - 500) return `${Math.round(ms / SECOND)} s`;
	const [large, small, name, rest] =
		ms < HOUR - 500 ? [MINUTE, SECOND, "min", "s"] : ms < 2 * DAY ? [HOUR, MINUTE, "h", "min"] : [DAY, HOUR, "d", "h"];
	const [count, ratio] = [Math.round(ms / small), large / small];
	return `${Math.floor(count / ratio)} ${name}${count % ratio ? ` ${count % ratio} ${rest}` : ""}`;
}

/** @type {Is.relative} */
export function relative(at) {
	const ms = Date.now() - Date.parse(at);
	const [count, unit] = duration(Math.abs(ms)).split(" ");
	if (unit === "ms") return "now";
	return ms < 0 ? `in ${parseInt(count)} ${unit}` : `${parseInt(count)} ${unit} ago`;
}

/** @type {Is.toLocal} */
export function toLocal(at) {
	const date = new Date(at);
	// Near the ends of time it is none in another zone.
	const here = new Date(date.getTime() - date.getTimezoneOffset() * MINUTE);
	return here.getFullYear() > 0 && here.getFullYear() < 9_999 ? here.toISOString().slice(0, 23) : "";
}

/** The same as RFC 3339 in UTC. @param {string} local */
export const fromLocal = (local) => (Number.isNaN(Date.parse(local)) ? "" : new Date(local).toISOString());

/** @type {Is.clock} */
export function clock(at, exact) {
	const [date, time] = toLocal(at).slice(0, exact ? 23 : 19).split("T");
	if (!date) return String(at);
	return date === toLocal(Date.now()).slice(0, 10) ? time : `${date} ${time}`;
}

/** @param {number} count @param {string} noun */
export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** A word for a POSIX shell. @param {string} text */
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** @type {Is.curl} */
export function curl(path, body) {
	const lines = [`curl -sS -X POST ${quote(String(new URL(path, location.href)))}`, `-H "authorization: Bearer $RELAY_API_KEY"`];
	if (body) lines.push("-H 'content-type: application/json'", `-d ${quote(body)}`);
	return lines.join(" \\\n  ");
}

/** @type {Is.awsConsole} */
export function awsConsole(arn) {
	const [, region] = /^arn:aws:states:([a-z0-9-]+):/.exec(arn ?? "") ?? [];
	return region && `https://${region}.console.aws.amazon.com/states/home?region=${region}#/v2/executions/details/${arn}`;
}
