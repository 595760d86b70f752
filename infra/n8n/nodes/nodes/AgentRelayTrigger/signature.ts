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

/**
 * Whether one of the secrets, each `whsec_` and base64, has made one of the signatures:
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function isSigned({ id, timestamp, signature, body }: Signed, secrets: string[]): boolean {
	if (!id || !timestamp || !signature) return false;
	const given = signature
		.split(' ')
		.filter((it) => it.startsWith('v1,'))
		.map((it) => Buffer.from(it.slice('v1,'.length), 'base64'));
	return secrets.some((secret) => {
		const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
		const right = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
		return given.some((it) => it.length === right.length && timingSafeEqual(it, right));
	});
}
