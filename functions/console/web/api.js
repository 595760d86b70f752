/** The requests to /v1, with the key or token of this tab. */

/** A request that failed. `status` is 0 if there was no answer, `retryAfter` is in seconds. */
export class Problem extends Error {
	/** @param {number} status @param {string} detail @param {string} [field] @param {number} [retryAfter] */
	constructor(status, detail, field, retryAfter) {
		super(detail);
		this.status = status;
		this.field = field;
		this.retryAfter = retryAfter;
	}

	/** Whether the same request may succeed later. */
	get isTransient() {
		return this.status === 0 || this.status === 429 || this.status >= 500;
	}

	/** @param {unknown} error */
	static of(error) {
		return error instanceof Problem ? error : new Problem(400, String(error));
	}
}

const STORED = "agent-relay.key";

/** The visitor, whose key or token is kept in the session of this tab alone. */
export const session = {
	/** Unknown before the API has said it. @type {Me | null} */
	me: null,
	/** Is called when the API takes the key no more. @type {(reason: string) => void} */
	onRefused: () => {},

	get key() {
		return sessionStorage.getItem(STORED) ?? "";
	},
	set key(key) {
		sessionStorage.setItem(STORED, key);
	},

	/** @param {AbortSignal} signal */
	async signIn(signal) {
		// A header takes nothing else.
		if (!/^[\x21-\x7e]+$/.test(session.key)) throw new Problem(401, "no key has such characters");
		session.me = (await send("v1/me", { signal })).data;
	},

	signOut() {
		sessionStorage.removeItem(STORED);
		session.me = null;
	},
};

/** @type {Is.may} */
export const may = (action, agent) =>
	["*", action].some((granted) => session.me?.permissions.some((it) => it === `${granted}:*` || it === `${granted}:${agent}`));

/** @type {Is.send} */
export async function send(to, { key = session.key, body, headers, ...options }) {
	const url = new URL(to, location.href);
	const own = { ...(key && { authorization: `Bearer ${key}` }), ...(body && { "content-type": "application/json" }) };
	let [response, text] = [new Response(), ""];
	try {
		response = await fetch(url, { ...options, body, cache: "no-store", headers: { ...own, ...headers } });
		text = await response.text();
	} catch (error) {
		if (options.signal?.aborted) throw error;
		throw new Problem(0, `${url.host} cannot be reached`);
	}
	let data;
	try {
		data = text && JSON.parse(text);
	} catch {
		if (response.ok) throw new Problem(502, "the answer is no JSON");
	}
	if (response.ok) return { data, text };
	// The last two are an issuer's (RFC 6749, section 5.2).
	const detail = data?.detail ?? data?.message ?? data?.error_description ?? data?.error;
	throw new Problem(response.status, String(detail ?? `${url.host} has answered ${response.status}`), data?.field ?? undefined, Number(response.headers.get("retry-after")) || undefined);
}

/** @type {typeof send} */
async function request(to, options) {
	try {
		return await send(to, options);
	} catch (error) {
		const { status, message } = Problem.of(error);
		if (status === 401) session.onRefused(message);
		throw error;
	}
}

/** @type {Is.path} */
export const path = (...segments) => ["v1", ...segments.map(encodeURIComponent)].join("/");

/** @param {string} to @param {AbortSignal} signal */
export const get = (to, signal) => request(to, { signal });

/** @type {Is.post} */
export const post = (to, body, headers) => request(to, { method: "POST", body, headers });

/** @type {Is.posting} */
export const posting = (to, then) => async () => {
	const { data } = await post(to);
	then();
	return data;
};

/** @param {string} to */
export const remove = (to) => request(to, { method: "DELETE" });

/** Sends starts, with a new `Idempotency-Key` for each new content: a repetition starts nothing twice. */
export function starter() {
	let [sent, key] = ["", ""];
	return async (to = "", body = "") => {
		if (body !== sent || !key) [sent, key] = [body, crypto.randomUUID()];
		const { data } = await post(to, body, { "idempotency-key": key });
		key = "";
		return /** @type {Schemas["Receipt"]} */ (data);
	};
}

/** @type {Is.queryOf} */
export const queryOf = (given) => String(new URLSearchParams(Object.entries(given).filter(([, value]) => value)));

const MOST_PAGES = 4;

/** @type {Is.list} */
export async function list({ limit, ...parameters }, signal, from = "v1/executions") {
	const found = [];
	for (let pages = 1; ; pages++) {
		const { data } = await get(`${from}?${queryOf({ ...parameters, limit: String(Number(limit) - found.length) })}`, signal);
		found.push(...(data.executions ?? data.deliveries));
		const next = (parameters.cursor = data.next_cursor);
		if (!next || found.length >= Number(limit) || pages === MOST_PAGES) return { found, next, pages };
	}
}

const LONGEST_PAUSE = 60;

/** @type {Is.poll} */
export function poll(task, signal, report) {
	let [failures, timer] = [0, 0];
	let [isRunning, isAskedFor] = [false, false];
	const whenSeen = () => (document.hidden ? document.addEventListener("visibilitychange", whenSeen, { once: true, signal }) : run());

	async function run() {
		clearTimeout(timer);
		isAskedFor = isRunning;
		if (isRunning || signal.aborted) return;
		isRunning = true;
		let pause = 0;
		try {
			pause = (await task()) || 0;
			failures = 0;
			if (!signal.aborted) report();
		} catch (error) {
			if (signal.aborted) return;
			const problem = Problem.of(error);
			if (problem.isTransient) pause = Math.max(problem.retryAfter ?? 0, Math.min(LONGEST_PAUSE, 2 ** ++failures));
			report(problem, pause);
		}
		isRunning = false;
		if (isAskedFor) void run();
		else if (pause) timer = setTimeout(whenSeen, pause * 1_000);
	}

	void run();
	return () => void run();
}
