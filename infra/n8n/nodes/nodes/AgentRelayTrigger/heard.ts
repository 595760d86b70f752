/** The ids of news, and when each was heard, in milliseconds. */
export type Heard = Record<string, number>;

/** Longer than a signature is taken for recent, before and after. */
const REMEMBERED_MS = 10 * 60 * 1000;
/** More than a news a second; it is stored with the workflow, and must not grow without bound. */
const MOST = 1000;

/** What is to be remembered with this news, or `undefined` when it was heard before. */
export function heardWith(before: Heard, id: string, now: number): Heard | undefined {
	const recent = Object.entries(before).filter(([, at]) => Math.abs(now - at) < REMEMBERED_MS);
	if (recent.some(([heard]) => heard === id)) return undefined;
	return Object.fromEntries([...recent.slice(1 - MOST), [id, now]]);
}
