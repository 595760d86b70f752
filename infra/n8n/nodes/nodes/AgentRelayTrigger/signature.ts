import { createHmac, timingSafeEqual } from 'node:crypto';

/** What Standard Webhooks sends along with a body. */
export interface Signed {
	id?: string;
	/** Seconds since 1970. */
	timestamp?: string;
	/** `v1,<base64>`, separated by spaces. */
	signature?: string;
	body: Buffer;
}

const TOLERANCE_SECONDS = 300;

/** Whether the timestamp is near enough to `now`, in milliseconds, not to be a replay. */
export function isRecent({ timestamp }: Signed, now: number): boolean {
	if (!/^\d{1,12}$/.test(timestamp ?? '')) return false;
	return Math.abs(now / 1000 - Number(timestamp)) <= TOLERANCE_SECONDS;
}

/** What HMAC-SHA256 gives, in base64. */
const V1 = /^v1,[A-Za-z0-9+/]{43}=$/;

/** How many secrets sign at a time at most, and room for versions to come. */
const MOST = 10;

/** Whether it has the form of what Standard Webhooks sends, whoever has made it. */
export function looksSigned({ id, timestamp, signature }: Signed): boolean {
	if (!/^[\x21-\x7e]{1,200}$/.test(id ?? '') || !timestamp) return false;
	const given = (signature ?? '').split(' ', MOST);
	return given.some((it) => V1.test(it));
}

/**
 * Whether one of the secrets, each `whsec_` and base64, has made one of the signatures:
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function isSigned({ id, timestamp, signature, body }: Signed, secrets: string[]): boolean {
	if (!id || !timestamp || !signature) return false;
	const given = signature
		.split(' ', MOST)
		.filter((it) => V1.test(it))
		.map((it) => Buffer.from(it.slice('v1,'.length), 'base64'));
	return secrets.some((secret) => {
		const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
		const right = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
		return given.some((it) => it.length === right.length && timingSafeEqual(it, right));
	});
}
