// Has the JavaScript of docs/rest.md judge a callback as it comes. `make conformance` runs it.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { isSigned } from "./is-signed.mjs";

const PATIENCE_MS = 60_000;
const { RELAY_URL: address, RELAY_API_KEY: key } = process.env;

async function call(path, body) {
  const request = body && { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(address + path, { ...request, headers: { "x-api-key": key } });
  assert.ok(answer.ok, `${path} is answered with ${answer.status}`);
  return answer.json();
}

// The callback of a run that is started for it.
function callback() {
  return new Promise((resolve, reject) => {
    const server = createServer(async (request, response) => {
      const body = Buffer.concat(await request.toArray());
      response.writeHead(204).end();
      server.close();
      resolve({ headers: request.headers, body });
    });
    server.listen(0, "127.0.0.1", () => {
      const url = `http://127.0.0.1:${server.address().port}/`;
      call("/v1/executions", { agent_name: "echo", input_message: "Grüße", callback_url: url }).catch(reject);
    });
  });
}

setTimeout(() => assert.fail("no callback has come"), PATIENCE_MS).unref();
const { headers, body } = await callback();
const { secret } = await call("/v1/webhook-secret");
const early = { ...headers, "webhook-timestamp": String(headers["webhook-timestamp"] - 600) };

assert.equal(isSigned(headers, body, secret), true);
assert.equal(isSigned(headers, Buffer.concat([body, Buffer.from(" ")]), secret), false);
assert.equal(isSigned(headers, body, "whsec_" + Buffer.from("another").toString("base64")), false);
assert.equal(isSigned(early, body, secret), false);
