/** Signing in at an OAuth issuer by an authorization code (RFC 6749) with PKCE (RFC 7636). */

import { Problem, send } from "./api.js";

const STORED = "agent-relay.login";
/** Where the issuer sends the visitor back to. It knows this address. */
const HERE = location.origin + location.pathname;

/** @param {Uint8Array} bytes */
const text = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => text(crypto.getRandomValues(new Uint8Array(32)));

/** @type {Is.begin} */
export async function begin({ client_id, authorize_url, token_url }) {
	const [state, verifier] = [random(), random()];
	const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
	const given = { response_type: "code", client_id, redirect_uri: HERE, state, code_challenge: text(new Uint8Array(hash)), code_challenge_method: "S256" };
	sessionStorage.setItem(STORED, JSON.stringify({ state, verifier, client_id, token_url, view: location.hash }));
	const url = new URL(authorize_url);
	for (const [name, value] of Object.entries(given)) url.searchParams.set(name, value);
	location.assign(url);
}

/** @type {Is.finish} */
export async function finish() {
	const given = new URLSearchParams(location.search);
	const state = given.get("state");
	if (!state) return undefined;
	const begun = JSON.parse(sessionStorage.getItem(STORED) ?? "{}");
	sessionStorage.removeItem(STORED);
	// Before any request: the code is for nobody else.
	history.replaceState(null, "", HERE + (begun.view ?? location.hash));
	if (state !== begun.state) throw new Problem(401, "this sign-in was not begun in this tab; begin it again");
	const refused = given.get("error_description") ?? given.get("error");
	if (refused) throw new Problem(401, refused);
	const code = given.get("code") ?? "";
	const body = { grant_type: "authorization_code", code, redirect_uri: HERE, client_id: begun.client_id, code_verifier: begun.verifier };
	const headers = { "content-type": "application/x-www-form-urlencoded" };
	const { data } = await send(begun.token_url, { key: "", method: "POST", body: String(new URLSearchParams(body)), headers });
	if (!data.access_token) throw new Problem(502, "the issuer has given no token");
	return data.access_token;
}
