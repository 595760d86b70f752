"""Builds n8n-nodes-agent-relay, installs it into n8n as its users do, and tries its nodes."""

import json
import pathlib
import shutil
import urllib.error
import urllib.request
import uuid

import keeper
from n8n import TYPED, Author, N8n, Refused, check, fails, node_of, outputs, refusal, wait_for
from report import Failure, step
from stack import ROOT

SOURCE = ROOT / "infra" / "n8n" / "nodes"
BUILT = ROOT / ".local" / "n8n-nodes"
CREDENTIAL = "agentRelayApi"
AGENT, TRIGGER = "n8n-nodes-agent-relay.agentRelay", "n8n-nodes-agent-relay.agentRelayTrigger"
# The version of the node since which it has fields.
WITH_FIELDS = 1.1
QUIET = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]


def build() -> pathlib.Path:
    """Builds, lints and tests the package beside the source, and returns it as npm would publish it."""
    with step("Building n8n-nodes-agent-relay"):
        BUILT.mkdir(parents=True, exist_ok=True)
        for old in BUILT.iterdir():
            if old.name not in ("node_modules", "installed"):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        ignored = shutil.ignore_patterns("node_modules", "dist")
        shutil.copytree(SOURCE, BUILT, ignore=ignored, dirs_exist_ok=True)
        wanted, stamp = (SOURCE / "package-lock.json").read_text(), BUILT / "installed"
        if not stamp.exists() or stamp.read_text() != wanted:
            npm("ci", *QUIET)
            stamp.write_text(wanted)
        for command in (["run", "build"], ["run", "lint"], ["test"]):
            npm(*command)
        npm("pack", "--loglevel=error")
    (package,) = BUILT.glob("*.tgz")
    return package


def npm(*command: str, cwd: pathlib.Path = BUILT) -> None:
    log = BUILT / "npm.log"
    with log.open("wb") as file:
        if keeper.run(["npm", *command], cwd=cwd, stdout=file, stderr=file):
            raise Failure(f"npm {' '.join(command)} failed:\n{log.read_text()[-4000:]}")


def install(package: pathlib.Path, n8n: N8n) -> None:
    """Puts the package where n8n looks for the nodes of others."""
    folder = n8n.nodes_folder
    folder.mkdir(parents=True)
    # What it names as a peer comes with n8n.
    npm("install", "--legacy-peer-deps", *QUIET, str(package), cwd=folder)


def import_all(author: Author) -> None:
    # The last is n8n's own, which its page fills in.
    author.n8n.create_credential("agent-relay", CREDENTIAL, access(author) | {"allowedHttpRequestDomains": "all"})
    for file in sorted((SOURCE / "examples").glob("*.json")):
        author.add(file.stem, json.loads(file.read_text()))


def start_and_wait(author: Author) -> None:
    """Starting an agent and waiting for it by the node"""
    answer = author.call("start-and-wait", {"message": "Hello"})
    told = answer.get("status"), answer.get("result")
    check("the workflow responds with the agent's result", told == ("completed", "Hello"), answer)
    check("nobody else sees by which tag the node knows it", "metadata" not in answer, answer)


def many(name: str, parameters: str) -> dict:
    """A workflow that has one node run an agent for each message, and wait for all of them."""
    agent = "={{ $json.message === 'nobody' ? 'nobody' : 'echo' }}"
    options = {"parameters": parameters}
    given = {"agentName": agent, "message": "={{ $json.message }}", "options": options}
    workflow = caller(name, "startAndWait", given)
    split = {"fieldToSplitOut": "body.messages", "include": "noOtherFields", "options": {"destinationFieldName": "message"}}
    insert(workflow, "Webhook", {"name": "Split", "type": "n8n-nodes-base.splitOut", "typeVersion": 1, "parameters": split})
    node_of(workflow, "Webhook")["parameters"]["responseMode"] = "onReceived"
    workflow["nodes"] = [node for node in workflow["nodes"] if node["name"] != "Respond"]
    workflow["connections"].pop("Run the agent", None)
    # As a node that was saved before there were fields has its parameters.
    node_of(workflow, "Run the agent")["typeVersion"] = 1
    return workflow


def many_items(author: Author) -> None:
    """Starting fifty agents and waiting for them by one node"""
    author.add("fifty", many("fifty", '{"wait_seconds": 1}'))
    messages = [str(number) for number in range(49)] + ["nobody"]
    author.call("fifty", {"messages": messages})
    run = author.new_run("fifty", "success", [])
    given = outputs(run, "Run the agent")
    told = [(it["status"], it.get("result")) for it in given]
    right = [("completed", message) for message in messages[:-1]] + [("refused", None)]
    check("each item has its result, in order", told == right, told)
    turns = run["data"]["resultData"]["runData"]["Run the agent"]
    pairs = [item["pairedItem"] for item in turns[-1]["data"]["main"][0]]
    check("each is paired with its item", [it["item"] for it in pairs] == list(range(50)), pairs)
    check("the workflow slept once", len(turns) == 1, len(turns))
    author.call("fifty", {"messages": ["nobody", "nobody"]})
    error = author.new_run("fifty", "error", [])["data"]["resultData"]["error"]
    check("it fails at once where nothing runs", "agent not found" in error["message"], error["message"])


def batch_and_restart(author: Author) -> None:
    """Ending a batch while n8n restarts"""
    author.add("restarted", many("restarted", '{"wait_seconds": 6}'))
    author.call("restarted", {"messages": ["One", "Two", "Three"]})
    author.new_run("restarted", "waiting", [])
    author.n8n.kill()
    author.n8n.start()
    run = author.new_run("restarted", "success", [], seconds=150)
    results = [it["result"] for it in outputs(run, "Run the agent")]
    check("each item has its result", results == ["One", "Two", "Three"], results)


def loop(author: Author) -> None:
    """Waiting in a loop, and being called back about the turn before"""
    workflow = caller("loop", "startAndWait", {"agentName": "approval", "message": "={{ $json.message }}", "options": {}})
    split = {"fieldToSplitOut": "body.messages", "include": "noOtherFields", "options": {"destinationFieldName": "message"}}
    insert(workflow, "Webhook", {"name": "Split", "type": "n8n-nodes-base.splitOut", "typeVersion": 1, "parameters": split})
    turn = {"name": "Loop", "type": "n8n-nodes-base.splitInBatches", "typeVersion": 3, "parameters": {"options": {}}}
    insert(workflow, "Split", turn)
    node_of(workflow, "Webhook")["parameters"]["responseMode"] = "onReceived"
    workflow["nodes"] = [node for node in workflow["nodes"] if node["name"] != "Respond"]
    agent = {"node": "Run the agent", "type": "main", "index": 0}
    workflow["connections"]["Loop"] = {"main": [[], [agent]]}
    workflow["connections"]["Run the agent"] = {"main": [[agent | {"node": "Loop"}]]}
    author.add("loop", workflow)
    author.call("loop", {"messages": ["First", "Second"]})
    first = answered(author, "loop", [], "First.")
    author.delivery(first)
    second = asking(author, "loop", [first])
    delivery = author.delivery(first)
    author.relay("POST", f"/v1/executions/{first}/deliveries/{delivery['id']}/redeliver")
    wait_for("the callback again", lambda: len(author.delivery(first)["attempts"]) > 1)
    check("it waits on", len(author.runs("loop", "waiting")) == 1, author.runs("loop", "waiting"))
    answered(author, "loop", [first], "Second.")
    run = author.new_run("loop", "success", [])
    told = [(said["execution_id"], said["result"]) for said in outputs(run, "Run the agent")]
    right = [(first, "Approved: First."), (second, "Approved: Second.")]
    check("each turn has its own agent's result", told == right, told)


def asking(author: Author, workflow: str, others: list[str]) -> str:
    """Waits for an agent that asks, that a workflow waits for, and that is none of the others."""
    owner = f"{author.workflow(workflow)}-"

    def found() -> list[str]:
        path = "/v1/executions?agent_name=approval&status=input_required&limit=100"
        ids = [it["execution_id"] for it in author.relay("GET", path)["executions"]]
        return [it for it in ids if it not in others and waiter(author, it).startswith(owner)]

    return wait_for("an agent that asks", found)[0]


def waiter(author: Author, execution: str) -> str:
    """The tag that says which run of which node of which workflow waits for an agent."""
    results = author.relay("GET", f"/v1/executions/{execution}/results?include_metadata=true")
    return results["metadata"]["tags"].get("n8n_waiter", "")


def answered(author: Author, workflow: str, others: list[str], comment: str) -> str:
    """Answers an agent that asks, and returns its execution."""
    execution = asking(author, workflow, others)
    answer = {"answer": {"approved": True, "comment": comment}}
    author.relay("POST", f"/v1/executions/{execution}/input", answer)
    return execution


def operations(author: Author) -> None:
    """Using the node's other operations"""
    given = "={{ $json.body.%s }}"
    for operation, parameters in {
        "start": {"agentName": given % "agent", "message": "Send it.", "options": {"tags": '{"order": "4711"}'}},
        "get": {"executionId": given % "id"},
        "answer": {"executionId": given % "id", "answer": '{"approved": true, "comment": "Go on."}'},
        "cancel": {"executionId": given % "id"},
        "getResults": {"executionId": given % "id"},
        "getAll": {"returnAll": False, "limit": 2, "filters": {"agent_name": "approval"}},
        "rerun": {"executionId": given % "id"},
        "later": {"agentName": "approval", "message": "Later.",
                  "options": {"delaySeconds": 86400, "tags": '{"order": "4711"}'}},
        "found": {"returnAll": False, "limit": 2, "filters": {
            "tag": "order=4711", "status": "scheduled", "created_after": "2026-01-31T09:00:00",
            "created_before": "={{ $now.plus({ minutes: 5 }) }}"}},
    }.items():
        name = {"later": "start", "found": "getAll"}.get(operation, operation)
        author.add(operation, caller(operation, name, parameters))

    asking = author.call("start", {"agent": "approval"})["execution_id"]
    stopped = author.call("start", {"agent": "approval"})["execution_id"]
    wait_for("a question", lambda: author.call("get", {"id": asking})["status"] == "input_required")
    author.call("answer", {"id": asking})
    wait_for("its end", lambda: author.call("get", {"id": asking})["status"] == "completed")
    results = author.call("getResults", {"id": asking})
    check("the agent has the answer", results["result"] == "Approved: Go on.", results)
    author.call("cancel", {"id": stopped})
    wait_for("its end", lambda: author.call("get", {"id": stopped})["status"] == "cancelled")
    listed = author.call("getAll", {})
    check("the newest is listed first", listed["execution_id"] == stopped, listed)
    again = author.call("rerun", {"id": asking})["execution_id"]
    again = wait_for("its question", lambda: asks(author, again))
    check("it is started again", (again["rerun_of"], again["tags"]) == (asking, {"order": "4711"}), again)
    author.call("cancel", {"id": again["execution_id"]})
    later = author.call("later", {})["execution_id"]
    found = author.call("found", {})
    check("what is to start later is found by its status, tag and time", found["execution_id"] == later, found)
    author.call("cancel", {"id": later})

    fails(author, "getResults", {"id": "mcp-nobody-1"})
    error = author.new_run("getResults", "error", [])["data"]["resultData"]["error"]
    check("what is not there is told as agent-relay says it", error["httpCode"] == "404", error["message"])


def asks(author: Author, execution: str) -> dict | None:
    run = author.call("get", {"id": execution})
    return run if run["status"] == "input_required" else None


def choices(author: Author) -> None:
    """Choosing an agent from the node's list"""
    credential = author.n8n.credential("agent-relay", CREDENTIAL)
    found = offered(author, credential, AGENT, "getAgents")
    check("the agents are offered", {"echo", "approval"} <= found and "" not in found, list(found))
    found = offered(author, credential, TRIGGER, "getAgentsOrAll")
    check("the trigger offers to hear of all, too", {"echo", ""} <= found, list(found))
    data = {"id": credential["id"], "name": credential["name"], "type": CREDENTIAL}
    right = author.n8n.page("POST", "/credentials/test", {"credentials": data | {"data": access(author)}})
    check("the credential's test lets a right key pass", right["status"] == "OK", right)
    wrong = access(author) | {"apiKey": "relay_wrong"}
    wrong = author.n8n.page("POST", "/credentials/test", {"credentials": data | {"data": wrong}})
    check("and no wrong one", wrong["status"] == "Error", wrong)


def fields(author: Author) -> None:
    """Giving an agent its parameters by the node's fields"""
    credential = author.n8n.credential("agent-relay", CREDENTIAL)
    shown = mapper(author, credential, TYPED)["fields"]
    told = {it["id"]: (it.get("type"), it["required"]) for it in shown}
    right = {
        "topic": ("string", True), "draft": ("boolean", True), "wait_seconds": ("number", False),
        "depth": ("options", False), "level": ("options", False), "since": ("dateTime", False),
        "sources": ("array", False), "limits": ("object", False), "anything": (None, False), "note": ("string", False),
    }  # fmt: skip
    check("each parameter has its field", told == right, told)
    levels = next(it["options"] for it in shown if it["id"] == "level")
    check("a choice keeps its type", [it["value"] for it in levels] == [1, 2, 3], levels)
    none = mapper(author, credential, "assistant")
    told = none["fields"] == [] and "Using JSON" in none["emptyFieldsNotice"]
    check("an agent that describes none has none, and n8n says so", told, none)

    values = {
        "topic": "={{ $json.body.topic }}", "draft": False, "wait_seconds": "={{ $json.body.seconds }}", "depth": "long",
        "level": "={{ $json.body.level }}", "since": "2026-01-31T09:00:00+01:00", "sources": '["a", "b"]',
        "limits": "={{ { words: 100 } }}", "anything": "[1]", "note": "={{ $json.body.nothing }}",
    }  # fmt: skip
    filled = {"mappingMode": "defineBelow", "value": values, "matchingColumns": [], "schema": shown}
    parameters = {"agentName": TYPED, "message": "Hello", "options": {}, "agentParameters": filled}
    author.add("fields", caller("fields", "startAndWait", parameters))
    answer = author.call("fields", {"topic": 4711, "seconds": "0", "level": "2"})
    check("the agent runs", (answer["status"], answer["result"]) == ("completed", "Hello"), answer)
    given = author.parameters(answer["execution_id"])
    right = {
        "topic": "4711", "draft": False, "wait_seconds": 0, "depth": "long", "level": 2,
        "since": "2026-01-31T08:00:00.000Z", "sources": ["a", "b"], "limits": {"words": 100}, "anything": [1],
    }  # fmt: skip
    check("it is given each as its type, and what is empty not at all", given == right, given)

    given = {"topic": "JSON", "draft": True, "wait_seconds": 0}
    parameters |= {"specifyParameters": "json", "parametersJson": json.dumps(given)}
    author.add("json", caller("json", "start", parameters))
    started = author.call("json", {})["execution_id"]
    found = wait_for("the agent's start", lambda: running(author, started))
    check("JSON is given as it is", author.parameters(found) == given, found)


def mapper(author: Author, credential: dict[str, str], agent: str) -> dict:
    """The fields that a node shows for an agent."""
    return author.n8n.page("POST", "/dynamic-node-parameters/resource-mapper-fields", {
        "path": "parameters.agentParameters", "methodName": "getParameters",
        "currentNodeParameters": {"resource": "execution", "operation": "start", "agentName": agent},
        "nodeTypeAndVersion": {"name": AGENT, "version": WITH_FIELDS}, "credentials": {CREDENTIAL: credential},
    })  # fmt: skip


def running(author: Author, execution: str) -> str | None:
    """The execution, once Step Functions has it."""
    status = author.relay("GET", f"/v1/executions/{execution}")["status"]
    return execution if status in ("running", "completed") else None


def offered(author: Author, credential: dict[str, str], node: str, method: str) -> set[str]:
    """The agents that a node lets its user choose from."""
    found = author.n8n.page("POST", "/dynamic-node-parameters/options", {
        "path": "parameters.agentName", "methodName": method, "currentNodeParameters": {},
        "nodeTypeAndVersion": {"name": node, "version": 1}, "credentials": {CREDENTIAL: credential},
    })  # fmt: skip
    return {it["value"] for it in found}


def access(author: Author) -> dict[str, str]:
    address, key = author.relay_access
    return {"url": address, "apiKey": key}


def trigger(author: Author) -> None:
    """Being started by the trigger node"""
    (subscription,) = wait_for("the subscription", lambda: subscriptions(author))
    check("it has subscribed", subscription["url"].startswith(author.n8n.url), subscription)
    seen = author.runs("when-an-agent-ends")
    started = author.relay("POST", "/v1/executions", {"agent_name": "echo", "input_message": "Hear me."})
    wanted = {"execution_id": started["execution_id"], "status": "completed", "result": "Hear me."}

    def told() -> bool:
        runs = [author.n8n.run(run) for run in author.runs("when-an-agent-ends") if run not in seen]
        return wanted in [said for run in runs for said in outputs(run, "What the agent says")]

    wait_for("a run of the workflow", told)
    print("  it tells what the agent says", flush=True)
    forged = urllib.request.Request(subscription["url"], method="POST", data=b'{"type": "execution.completed"}')
    forged.add_header("content-type", "application/json")
    check("what is not signed is refused", refusal(lambda: open_(forged)) == 401, subscription)
    author.n8n.deactivate(author.workflow("when-an-agent-ends"))
    wait_for("the subscription's end", lambda: not subscriptions(author))
    print("  it unsubscribes", flush=True)


def subscriptions(author: Author) -> list[dict]:
    return author.relay("GET", "/v1/subscriptions")["subscriptions"]


def open_(request: urllib.request.Request) -> None:
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        raise Refused(error.code, "") from None


def caller(name: str, operation: str, parameters: dict) -> dict:
    """A workflow that does one operation for whoever calls its webhook."""
    workflow = json.loads((SOURCE / "examples" / "start-and-wait.json").read_text())
    workflow["name"] = name
    webhook, node = node_of(workflow, "Webhook"), node_of(workflow, "Run the agent")
    webhook["parameters"]["path"] = f"agent-relay-{name}"
    webhook["webhookId"] = str(uuid.uuid4())
    node["id"] = str(uuid.uuid4())
    node["parameters"] = {"resource": "execution", "operation": operation} | parameters
    node["retryOnFail"] = False
    return workflow


def insert(workflow: dict, before: str, node: dict) -> None:
    """Puts a node behind another."""
    workflow["nodes"].append(node | {"id": str(uuid.uuid4()), "position": [112, 0]})
    workflow["connections"][node["name"]] = workflow["connections"][before]
    workflow["connections"][before] = {"main": [[{"node": node["name"], "type": "main", "index": 0}]]}


SCENARIOS = [start_and_wait, many_items, batch_and_restart, loop, operations, choices, fields, trigger]
