/** The ids of events, and when each was received, in milliseconds. */
export type SeenIds = Record<string, number>;

/** Longer than a signature is taken for recent, before and after. */
const REMEMBERED_MS = 10 * 60 * 1000;
/** More than an event a second; it is stored with the workflow, and must not grow without bound. */
const MOST = 1000;

/** What is to be remembered with this event, or `undefined` when it is a duplicate. */
export function withId(before: SeenIds, id: string, now: number): SeenIds | undefined {
	const recent = Object.entries(before).filter(([, at]) => Math.abs(now - at) < REMEMBERED_MS);
	if (recent.some(([seen]) => seen === id)) return undefined;
	return Object.fromEntries([...recent.slice(1 - MOST), [id, now]]);
}
