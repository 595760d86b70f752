// @ts-check
/** The requests to /v1: with the key of this tab, and with problem+json where one fails. */

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

/** The visitor, whose key is kept in the session of this tab alone. */
export const session = {
	/** `null` if the API does not say who that is. @type {Me | null} */
	me: null,
	/** Is called when the API takes the key no more. @type {(reason: string) => void} */
	onRefused: () => {},

	get key() {
		return sessionStorage.getItem(STORED);
	},

	/** Asks the API who this is, and keeps the key if it is valid. @param {string} key @param {AbortSignal} [signal] */
	async signIn(key, signal) {
		// A header takes nothing else.
		if (!/^[\x21-\x7e]+$/.test(key)) throw new Problem(401, "no key has such characters");
		try {
			session.me = (await send("v1/me", { key, signal })).data;
		} catch (error) {
			if (Problem.of(error).status !== 404) throw error;
			await send("v1/agents", { key, signal });
			session.me = null;
		}
		sessionStorage.setItem(STORED, key);
	},

	signOut() {
		sessionStorage.removeItem(STORED);
		session.me = null;
	},
};

/** Whether the key grants an action for an agent, or for all of them (`*`). @param {Action} action @param {string} agent */
export function may(action, agent) {
	const grants = session.me?.permissions.map((grant) => grant.split(":")) ?? [["*", "*"]];
	return grants.some(([granted, on, ...more]) => !more.length && (granted === "*" || granted === action) && (on === "*" || on === agent));
}

/** @param {string} to @param {RequestOptions} options @returns {Promise<Answer>} */
async function send(to, { key = session.key, body, headers, ...options }) {
	const type = { "content-type": "application/json" };
	const init = { ...options, body, cache: /** @type {const} */ ("no-store"), headers: { "x-api-key": key ?? "", ...(body && type), ...headers } };
	let [response, text] = [new Response(), ""];
	try {
		response = await fetch(new URL(to, location.href), init);
		text = await response.text();
	} catch (error) {
		if (options.signal?.aborted) throw error;
		throw new Problem(0, "the API cannot be reached");
	}
	let data;
	try {
		data = text && JSON.parse(text);
	} catch {
		if (response.ok) throw new Problem(502, "the answer is no JSON");
	}
	if (response.ok) return { data, text };
	const detail = data?.detail ?? data?.message ?? `the API has answered ${response.status}`;
	throw new Problem(response.status, String(detail), data?.field ?? undefined, Number(response.headers.get("retry-after")) || undefined);
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

/** A path below /v1, of segments that may hold anything. @param {string[]} segments */
export const path = (...segments) => ["v1", ...segments.map(encodeURIComponent)].join("/");

/** @param {string} to @param {AbortSignal} signal */
export const get = (to, signal) => request(to, { signal });

/** @param {string} to @param {string} [body] JSON @param {Given} [headers] */
export const post = (to, body, headers) => request(to, { method: "POST", body, headers });

/** @param {string} to */
export const remove = (to) => request(to, { method: "DELETE" });

/** The question of an answer link. @param {string} token */
export const linked = (token) => request("v1/answers", { headers: { "answer-token": token } });

/** Sends starts, with a new `Idempotency-Key` for each new content: a repetition starts nothing twice. */
export function starter() {
	let [sent, key] = ["", ""];
	return async (/** @type {string} */ to, /** @type {string} */ body) => {
		if (body !== sent || !key) [sent, key] = [body, crypto.randomUUID()];
		const { data } = await post(to, body, { "idempotency-key": key });
		key = "";
		return /** @type {Schemas["Receipt"]} */ (data);
	};
}

/** A page of runs. @param {Record<string, string | null>} parameters @param {AbortSignal} signal @returns {Promise<{ runs: Run[], next?: string }>} */
export async function list(parameters, signal) {
	const given = /** @type {[string, string][]} */ (Object.entries(parameters).filter(([, value]) => value));
	const { data } = await get(`v1/executions?${new URLSearchParams(given)}`, signal);
	return { runs: data.executions, next: data.next_cursor };
}

const LONGEST_PAUSE = 60;

/**
 * Repeats a task while the page is visible, less often while it fails, until `signal` ends it.
 * @param {Task} task @param {AbortSignal} signal
 * @param {(problem?: Problem, pause?: number) => void} report is told of each success and failure
 * @returns {() => void} repeats it at once
 */
export function poll(task, signal, report) {
	let wake = () => {};
	let [isRunning, isAskedFor] = [false, false];

	/** Until so many seconds have passed and the page is seen, or at once if it is asked for. */
	const sleep = (/** @type {number} */ seconds) =>
		/** @type {Promise<void>} */ (new Promise((resolve) => {
			wake = resolve;
			const seen = () => (document.hidden ? document.addEventListener("visibilitychange", seen, { once: true, signal }) : resolve());
			setTimeout(seen, seconds * 1_000);
		}));

	async function run() {
		isRunning = true;
		for (let failures = 0; !signal.aborted; ) {
			isAskedFor = false;
			let pause;
			try {
				pause = await task();
				failures = 0;
				if (!signal.aborted) report();
			} catch (error) {
				if (signal.aborted) break;
				const problem = Problem.of(error);
				if (problem.isTransient) pause = Math.max(problem.retryAfter ?? 0, Math.min(LONGEST_PAUSE, 2 ** ++failures));
				report(problem, pause);
			}
			if (isAskedFor) continue;
			if (pause === undefined) break;
			await sleep(pause);
		}
		isRunning = false;
	}

	signal.addEventListener("abort", () => wake());
	void run();
	return () => {
		isAskedFor = true;
		if (isRunning) wake();
		else void run();
	};
}
