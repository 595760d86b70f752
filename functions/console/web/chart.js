/** Charts, of which captions say the same in words. */

import { html, svg } from "./lit-html.js";
import { DAY, HOUR, MINUTE, clock, duration, plural } from "./format.js";

/** @type {[number, string][]} */
const STEPS = [
	[MINUTE, "minute"], [5 * MINUTE, "5 minutes"], [15 * MINUTE, "15 minutes"], [HOUR, "hour"], [6 * HOUR, "6 hours"], [DAY, "day"], [7 * DAY, "week"],
];
const MOST_BUCKETS = 48;
const HEIGHT = 96;
const TOP = 14;

const created = (/** @type {Run} */ run) => Date.parse(run.created_at);
const hasFailed = (/** @type {Run} */ run) => run.status === "failed" || run.status === "timeout";
const runTime = (/** @type {Run} */ run) => Math.max(1, Date.parse(run.completed_at ?? "") - Date.parse(run.started_at ?? ""));

/** @type {Is.quantile} */
const quantile = (values, share) => duration(values.toSorted((a, b) => a - b)[Math.ceil(share * values.length) - 1]);

/** How many there were and failed in each span of time. @param {Run[]} runs */
function bucketsOf(runs) {
	const times = runs.map(created);
	const [first, last] = [Math.min(...times), Math.max(...times)];
	const [step, name] = STEPS.find(([ms]) => (last - first) / ms < MOST_BUCKETS) ?? STEPS[STEPS.length - 1];
	// Days begin at midnight here.
	const offset = new Date(last).getTimezoneOffset() * MINUTE;
	const start = Math.floor((first - offset) / step) * step + offset;
	const buckets = Array.from({ length: Math.floor((last - start) / step) + 1 }, () => ({ all: 0, failed: 0 }));
	for (const run of runs) {
		const bucket = buckets[Math.floor((created(run) - start) / step)];
		bucket.all++;
		if (hasFailed(run)) bucket.failed++;
	}
	return { buckets, start, end: start + buckets.length * step, name };
}

/** @type {Is.shares} */
export function shares(parts) {
	const sum = parts.reduce((total, [, size]) => total + size, 0) || 1;
	let x = 0;
	const bar = parts.map(([kind, size]) => {
		const width = (100 * size) / sum;
		x += width;
		return svg`<rect class=${kind} x="${x - width}%" width="${width}%" height="8" />`;
	});
	return html`<svg class="share" height="8" aria-hidden="true">${bar}</svg>`;
}

/** @type {Is.charts} */
export function charts(runs) {
	if (runs.length < 3) return "";
	const { buckets, start, end, name } = bucketsOf(runs);
	const ended = runs.filter((run) => run.started_at && run.completed_at);
	const failed = runs.filter(hasFailed).length;
	const times = ended.map(runTime);
	const took = ended.length ? `median ${quantile(times, 0.5)}, 95th percentile ${quantile(times, 0.95)}` : "none has ended";
	/** @type {Is.figure} */
	const figure = (caption, content) => html`<figure>
		<figcaption>${caption}</figcaption>
		<svg class="chart" height=${HEIGHT} aria-hidden="true">${content}</svg>
		<div class="axis" aria-hidden="true"><span>${clock(start)}</span><span>${clock(end)}</span></div>
	</figure>`;
	return html`<div class="charts">
		${figure(html`<b>Runs per ${name}</b> ${plural(runs.length, "run")}, <span class=${failed ? "bad" : ""}>${failed} failed</span>`, bars(buckets))}
		${figure(html`<b>Run time</b> ${took}`, dots(ended, times, start, end))}
	</div>`;
}

/** @type {Is.line} */
const line = (y, label) => svg`<line x1="0" x2="100%" y1=${y} y2=${y} /><text x="0" y=${y - 3}>${label}</text>`;

/** @param {ReturnType<typeof bucketsOf>["buckets"]} buckets */
function bars(buckets) {
	const most = Math.max(...buckets.map(({ all }) => all));
	const width = 100 / buckets.length;
	/** @type {Is.y} */
	const y = (count) => HEIGHT - 1 - (count / most) * (HEIGHT - 1 - TOP);
	/** @type {Is.bar} */
	const bar = (at, from, to, kind) =>
		svg`<rect class=${kind} x="${(at + 0.1) * width}%" width="${0.8 * width}%" y=${y(to)} height=${y(from) - y(to)} />`;
	return [line(TOP, most), line(HEIGHT - 1, ""), buckets.map(({ all, failed }, at) => [bar(at, 0, failed, "bad"), bar(at, failed, all, "")])];
}

/** @type {Is.dots} */
function dots(runs, times, start, end) {
	const [low, high] = [Math.min(...times), Math.max(...times)];
	/** @type {Is.y} */
	const y = (ms) => HEIGHT - 4 - (Math.log(ms / low) / Math.log(high / low) || 0) * (HEIGHT - 4 - TOP);
	const lines = runs.length ? [low, high].map((ms) => line(y(ms), duration(ms))) : "";
	return [lines, runs.map((run, at) => svg`<circle class=${hasFailed(run) ? "bad" : ""} r="2.5" cy=${y(times[at])}
		cx="${6 + (93 * (created(run) - start)) / (end - start)}%" />`)];
}
