"""Has n8n's AI Agent use agent-relay as its tool, in each of the three ways, with a model of our own."""

import contextlib
import http.server
import json
import uuid
from collections.abc import Iterator

import n8n_model
from n8n import Author, check, wait_for
from n8n_package import AGENT, CREDENTIAL, WITH_FIELDS, running

LANGCHAIN = "@n8n/n8n-nodes-langchain"
# Before version 3 the AI Agent calls its tools itself; since then n8n runs them as nodes, which may wait.
OLD, NEW = 2.2, 3.1
MODEL_CREDENTIAL = "A scripted model"
# What the MCP Client Tool calls the kinds of its credentials.
AUTHENTICATION = {"httpHeaderAuth": "headerAuth", "httpBearerAuth": "bearerAuth"}
ECHO = {"agent_name": "echo", "input_message": "Hello"}


def mcp_tools(author: Author) -> None:
    """Having an AI Agent list, run and read agents by the MCP Client Tool"""
    script = [
        [tool("list_available_agents")],
        [tool("start_agent", **ECHO, wait_seconds=20)],
        [tool("get_agent_results", execution_id="$last.execution_id")],
        [tool("start_agent", agent_name="nobody", input_message="Hello")],
    ]
    for version in (OLD, NEW):
        agents, started, results, refused = said(author, f"mcp-tools-{version}", version, mcp_client(author), script)
        check(f"agent {version} sees the agents", "approval" in agents, agents)
        check(f"agent {version} gets the result at once", "Hello" in started and "completed" in started, started)
        check(f"agent {version} reads the results", "Hello" in results, results)
        check(f"agent {version} is told what is refused", "nobody" in refused or "not found" in refused, refused)


def mcp_bearer(author: Author) -> None:
    """Having an AI Agent use the newest MCP Client Tool with the key as a bearer token"""
    _, key = author.relay_access
    author.n8n.create_credential("agent-relay bearer", "httpBearerAuth", {"token": key})
    newest = 1.4 if author.n8n.tells_errors else 1.2
    client = mcp_client(author, newest, "httpBearerAuth", "agent-relay bearer")
    (started,) = said(author, "mcp-bearer", NEW, client, [[tool("start_agent", **ECHO, wait_seconds=20)]])
    check("the key is taken", "Hello" in started and "completed" in started, started)


def mcp_question(author: Author) -> None:
    """Having an AI Agent wait for an agent that asks, and answer it"""
    answer = json.dumps({"approved": True, "comment": "Go on."})
    script = [
        [tool("start_agent", agent_name="approval", input_message="Shall I?", wait_seconds=20)],
        [tool("answer_agent", execution_id="$last.execution_id", answer=answer)],
    ]
    started, _ = said(author, "mcp-question", NEW, mcp_client(author), script)
    check("the question comes back", "input_required" in started and "Shall I?" in started, started)
    path = f"/v1/executions/{n8n_model.filled('$last.execution_id', [started])}"
    wait_for("its end", lambda: author.relay("GET", path)["status"] == "completed")
    result = author.relay("GET", f"{path}/results")["result"]
    check("the agent has the answer", result == "Approved: Go on.", result)


def node_tools(author: Author) -> None:
    """Having an AI Agent start two agents in one turn by the node as its tool"""
    for version in (OLD, NEW):
        started = tool("Relay", message="Hello", seconds=1)
        with_field = relay("start", {"wait_seconds": from_model("seconds", "number")})
        receipts = said(author, f"node-tools-{version}", version, with_field, [[started, started]])
        ids = {n8n_model.filled("$last.execution_id", [receipt]) for receipt in receipts}
        check(f"agent {version} starts two", len(ids) == 2 and "" not in ids, receipts)
        given = [author.parameters(wait_for("a start", lambda it=it: running(author, it))) for it in ids]
        check(f"agent {version} fills in a field", given == [{"wait_seconds": 1}] * 2, given)


def node_tool_that_waits(author: Author) -> None:
    """Having an AI Agent sleep until an agent has ended, twice, by the node as its tool"""
    script = [[tool("Relay", message="First.")], [tool("Relay", message="Second.")]]
    results = said(author, "node-waits", NEW, relay("startAndWait"), script)
    right = ["completed" in given and message in given for given, message in zip(results, ("First.", "Second."))]
    check("each turn has its own agent's result", right == [True, True], results)


def node_tool_that_cannot_wait(author: Author) -> None:
    """Having an AI Agent that cannot sleep refuse to wait"""
    before = len(executions(author))
    (refused,) = said(author, "node-cannot-wait", OLD, relay("startAndWait"), [[tool("Relay", message="Hello")]])
    check("the model is told", "cannot wait" in refused, refused)
    check("and no agent is started", len(executions(author)) == before, before)


def http_tools(author: Author) -> None:
    """Having an AI Agent start an agent by the HTTP Request Tool, and hear why one is refused"""
    script = [[tool("Start", agent="echo", message="Hello")], [tool("Start", agent="nobody", message="Hello")]]
    for version in (OLD, NEW):
        started, refused = said(author, f"http-tools-{version}", version, http_request(author), script)
        check(f"agent {version} gets a receipt", "execution_id" in started, started)
        check(f"agent {version} is told what is refused", "detail" in refused, refused)


def executions(author: Author) -> list[dict]:
    return author.relay("GET", "/v1/executions?limit=100")["executions"]


def said(author: Author, name: str, version: float, tools: dict, script: list[list[dict]]) -> list[str]:
    """What the tools of an AI Agent gave to a model that follows the script."""
    with model() as address:
        author.add(name, workflow(author, name, version, tools, address))
        answer = author.call(name, {"script": script})
    return json.loads(answer["output"])


@contextlib.contextmanager
def model() -> Iterator[str]:
    server: http.server.ThreadingHTTPServer = n8n_model.serve()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def tool(name: str, **arguments: object) -> dict:
    return {"tool": name, "arguments": arguments}


def mcp_client(author: Author, version: float = 1.1, kind: str = "httpHeaderAuth", name: str = "agent-relay key") -> dict:
    url, _ = author.relay_access
    parameters = {
        "endpointUrl": f"{url}/mcp", "serverTransport": "httpStreamable", "authentication": AUTHENTICATION[kind],
        "include": "all", "options": {},
    }  # fmt: skip
    return node("Relay", f"{LANGCHAIN}.mcpClientTool", version, parameters, {kind: {"id": None, "name": name}})


def relay(operation: str, fields: dict[str, str] | None = None) -> dict:
    schema = [
        {"id": name, "displayName": name, "required": False, "defaultMatch": False, "display": True, "type": "number"}
        for name in fields or {}
    ]
    parameters = {
        "resource": "execution", "operation": operation, "agentName": "echo", "message": from_model("message"),
        "agentParameters": {"mappingMode": "defineBelow", "value": fields, "matchingColumns": [], "schema": schema},
        "options": {},
    }  # fmt: skip
    access = {CREDENTIAL: {"id": None, "name": "agent-relay"}}
    return node("Relay", f"{AGENT}Tool", WITH_FIELDS, parameters, access) | {"webhookId": str(uuid.uuid4())}


def http_request(author: Author) -> dict:
    url, _ = author.relay_access
    fields = {"agent_name": from_model("agent"), "input_message": from_model("message")}
    pairs = [{"name": name, "value": value} for name, value in fields.items()]
    key = "={{ $workflow.id }}-{{ $execution.id }}-{{ $runIndex }}-{{ $itemIndex }}"
    parameters = {
        "method": "POST", "url": f"{url}/v1/executions", "toolDescription": "Starts an agent",
        "authentication": "genericCredentialType", "genericAuthType": "httpHeaderAuth",
        "sendHeaders": True, "headerParameters": {"parameters": [{"name": "Idempotency-Key", "value": key}]},
        "sendBody": True, "bodyParameters": {"parameters": pairs},
        "options": {"response": {"response": {"neverError": True}}},
    }  # fmt: skip
    access = {"httpHeaderAuth": {"id": None, "name": "agent-relay key"}}
    return node("Start", "n8n-nodes-base.httpRequestTool", 4.2, parameters, access)


def from_model(field: str, kind: str = "string") -> str:
    """A parameter that the model fills in."""
    return f"={{{{ $fromAI('{field}', '', '{kind}') }}}}"


def workflow(author: Author, name: str, version: float, tools: dict, address: str) -> dict:
    """An AI Agent with one tool, for whoever calls its webhook."""
    kind = "openAiApi"
    credential = {kind: {"id": author.n8n.create_credential(f"{MODEL_CREDENTIAL} {name}", kind, {
        "apiKey": "none", "url": address, "header": False,
    }), "name": f"{MODEL_CREDENTIAL} {name}"}}  # fmt: skip
    caller = {"httpHeaderAuth": {"id": None, "name": "Callers of my workflows"}}
    nodes = [
        node("Webhook", "n8n-nodes-base.webhook", 2.1, {
            "httpMethod": "POST", "path": f"agent-relay-{name}", "authentication": "headerAuth",
            "responseMode": "responseNode", "options": {},
        }, caller) | {"webhookId": str(uuid.uuid4())},
        node("AI Agent", f"{LANGCHAIN}.agent", version, {
            "promptType": "define", "text": "={{ JSON.stringify($json.body.script) }}", "options": {},
        }),
        node("Model", f"{LANGCHAIN}.lmChatOpenAi", 1.2, {
            "model": {"__rl": True, "mode": "id", "value": "scripted"}, "options": {"baseURL": address},
        }, credential),
        tools,
        node("Respond", "n8n-nodes-base.respondToWebhook", 1.4, {"respondWith": "firstIncomingItem", "options": {}}),
    ]  # fmt: skip
    connections = {
        "Webhook": link("AI Agent", "main"),
        "AI Agent": link("Respond", "main"),
        "Model": link("AI Agent", "ai_languageModel"),
        tools["name"]: link("AI Agent", "ai_tool"),
    }
    return {"name": name, "nodes": nodes, "connections": connections, "settings": {"executionOrder": "v1"}}


def node(name: str, kind: str, version: float, parameters: dict, credentials: dict | None = None) -> dict:
    made = {"id": str(uuid.uuid4()), "name": name, "type": kind, "typeVersion": version, "position": [0, 0]}
    return made | {"parameters": parameters, "credentials": credentials or {}}


def link(to: str, kind: str) -> dict:
    return {kind: [[{"node": to, "type": kind, "index": 0}]]}


SCENARIOS = [
    mcp_tools,
    mcp_bearer,
    mcp_question,
    node_tools,
    node_tool_that_waits,
    node_tool_that_cannot_wait,
    http_tools,
]
