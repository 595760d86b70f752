// Drives a deployed stack with the official TypeScript client: without tasks, with tasks, and as two users.
// `make conformance` runs it.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient } from "@modelcontextprotocol/ext-tasks/client";

const REVISION = "2026-07-28";
const PATIENCE_MS = 60_000;
const ENDS = ["completed", "failed", "timeout", "cancelled"];
const INFO = { name: "agent-relay-typescript", version: "1.0.0" };

const url = new URL(process.env.MCP_URL);
const { MCP_KEY: key, MCP_OTHER_KEY: otherKey } = process.env;

async function connect(key, mode) {
  const client = new Client(INFO, { versionNegotiation: { mode } });
  const requestInit = { headers: { "x-api-key": key } };
  await client.connect(new StreamableHTTPClientTransport(url, { requestInit }));
  return client;
}

// The client checks results by what the protocol's core knows, so the extension sends its requests by itself.
function taskSession(client, key) {
  let id = 0;
  const rawDispatch = async (request, options) => {
    const answer = await fetch(url, {
      method: "POST",
      signal: options?.signal,
      headers: {
        "x-api-key": key,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": REVISION,
        "mcp-method": request.method,
        "mcp-name": request.params.taskId ?? request.params.name,
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: ++id, ...request }),
    });
    const { result, error } = await answer.json();
    return error ? { kind: "error", error } : { kind: "result", result };
  };
  const v2RequestFraming = { protocolVersion: REVISION, clientInfo: INFO, clientCapabilities: {} };
  return createTaskSessionFromClient(client, { endpointId: "agent-relay", rawDispatch, v2RequestFraming });
}

const read = async (client, uri) => JSON.parse((await client.readResource({ uri })).contents[0].text);

const echo = (message) => ({
  agent_name: "echo",
  input_message: message,
  parameters: { wait_seconds: 0 },
});

async function byTools(client) {
  const { tools } = await client.listTools();
  const names = tools.map((tool) => tool.name);
  for (const name of ["start_agent", "monitor_agent", "get_agent_results", "list_available_agents"]) {
    assert.ok(names.includes(name), name);
  }
  const call = async (name, args) => {
    const result = await client.callTool({ name, arguments: args });
    assert.ok(!result.isError, JSON.stringify(result.content));
    return result.structuredContent;
  };
  const { agents } = await call("list_available_agents", {});
  assert.deepEqual(agents, (await read(client, "agents://available")).agents);
  assert.ok(agents.some((agent) => agent.name === "echo"));

  const { execution_id } = await call("start_agent", echo("By tools."));
  const deadline = Date.now() + PATIENCE_MS;
  let monitor = await call("monitor_agent", { execution_id });
  while (!ENDS.includes(monitor.status)) {
    assert.ok(Date.now() < deadline, `still ${monitor.status}`);
    await sleep(200);
    monitor = await call("monitor_agent", { execution_id });
  }
  assert.equal(monitor.status, "completed");
  const results = await call("get_agent_results", { execution_id });
  assert.equal(results.result, "By tools.");
  assert.deepEqual(results, await read(client, `agents://executions/${execution_id}/result`));
}

async function byTask(session) {
  const execution = await session.callTool("start_agent", echo("As a task."));
  assert.equal(execution.kind, "task");
  const { outcome } = await execution.settle();
  assert.equal(outcome.status, "completed");
  assert.ok(!outcome.result.isError);
  assert.equal(outcome.result.structuredContent.result, "As a task.");

  const failing = await session.callTool("start_agent", { agent_name: "fail", input_message: "Fail." });
  const failed = (await failing.settle()).outcome;
  assert.equal(failed.status, "completed");
  assert.ok(failed.result.isError);
}

async function apart(session, client, otherSession, other) {
  const execution = await session.callTool("start_agent", { agent_name: "slow", input_message: "Mine." });
  const { taskId } = execution.handle;
  const invalidParams = { code: -32602 };

  await assert.rejects(otherSession.task(taskId).snapshot(), invalidParams);
  await assert.rejects(otherSession.task(taskId).cancel(), invalidParams);
  await assert.rejects(read(other, `agents://executions/${taskId}`), invalidParams);
  for (const name of ["monitor_agent", "get_agent_results", "stop_agent"]) {
    const answer = await other.callTool({ name, arguments: { execution_id: taskId } });
    assert.ok(answer.isError, name);
  }
  const ids = ({ executions }) => executions.map(({ execution_id }) => execution_id);
  assert.ok(ids(await read(client, "agents://executions")).includes(taskId));
  assert.ok(!ids(await read(other, "agents://executions")).includes(taskId));

  // Nothing of that has ended it; its owner may.
  assert.equal((await session.task(taskId).snapshot()).status, "working");
  await execution.cancel();
  const deadline = Date.now() + PATIENCE_MS;
  while ((await session.task(taskId).snapshot()).status !== "cancelled") {
    assert.ok(Date.now() < deadline, "not cancelled");
    await sleep(200);
  }
}

const [legacy, client, other] = await Promise.all([
  connect(key, "legacy"),
  connect(key, { pin: REVISION }),
  connect(otherKey, { pin: REVISION }),
]);
const [session, otherSession] = [taskSession(client, key), taskSession(other, otherKey)];
const steps = {
  [`without tasks, by the tools, at ${legacy.getNegotiatedProtocolVersion()}`]: () => byTools(legacy),
  [`without tasks, by the tools, at ${client.getNegotiatedProtocolVersion()}`]: () => byTools(client),
  "with tasks, to the end": () => byTask(session),
  "two users, apart": () => apart(session, client, otherSession, other),
};
for (const [name, step] of Object.entries(steps)) {
  await step();
  console.log(`  passes  ${name}`);
}
await Promise.all([session.close(), otherSession.close()]);
await Promise.all([legacy.close(), client.close(), other.close()]);
