"""Runs schemathesis with infra/openapi.json on a deployed stack: nothing may be answered that is not described.

What it checks is said in openapi_check.toml. Its requests start from the document's examples, which are made to name
what is there: runs that can be cancelled, answered and looked at, a delivery to make again, a receiver of callbacks.
"""

import http.server
import json
import pathlib
import re
import threading
import time
import urllib.request
from collections.abc import Callable

import keeper
from report import Failure, step
from stack import INFRA, Stack

CONFIG = pathlib.Path(__file__).with_suffix(".toml")
HOOKS = CONFIG.with_name("openapi_hooks.py")
USER = "openapi"
# An agent whose questions have links.
LINKED = "linked"
# How it refuses each operation, and not that it does nothing else.
ONCE = ["--phases", "examples", "--warnings", "off"]
LIMIT_SECONDS = 60


class Receiver(http.server.ThreadingHTTPServer):
    """Takes every callback."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Callback)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Callback(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Nobody wants to know."""


class User:
    """Somebody of whom the stack knows nothing yet."""

    def __init__(self, stack: Stack):
        self.environment = stack.deploy()
        self.url = self.environment["RELAY_URL"]
        self.key = stack.create_key(USER)

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"x-api-key": self.key, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def start(self, agent: str, **more: str) -> str:
        body = {"agent_name": agent, "input_message": "Hello", **more}
        return self.call("POST", "/v1/executions", body)["execution_id"]

    def subscribe(self, url: str) -> str:
        return self.call("POST", "/v1/subscriptions", {"url": url})["id"]

    def wait_for(self, path: str, found: Callable[[dict], object]) -> object:
        """What is found in the answer, once it is there."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not (it := found(answer := self.call("GET", path))):
            if time.monotonic() > deadline:
                raise Failure(f"{path} is not as it should be after {LIMIT_SECONDS} s: {json.dumps(answer)}")
            time.sleep(0.1)
        return it


def check(stack: Stack, schemathesis: pathlib.Path) -> None:
    user, receiver = User(stack), Receiver()
    machine = json.loads(user.environment["RELAY_TEST_OUTPUTS"])["ApprovalMachineArn"]
    stack.run_relayctl("agents", "put", LINKED, "--machine", machine, "--answer-links")
    with step("Starting what the document's examples are to be"):
        document = described(user, receiver)
    folder = stack.engine.state / "openapi"
    folder.mkdir()
    (folder / "openapi.json").write_text(json.dumps(document))
    command = [schemathesis, "--config-file", CONFIG, "run", "openapi.json", "--url", user.url, "--no-color"]
    for who, key, more in (
        ("a user", user.key, []),
        ("the user without permissions", stack.create_key(USER, "--permission", "view:nothing"), ONCE),
        ("nobody", "relay_unknown", ONCE),
    ):
        # Of the developer's environment it gets nothing, proxies least of all.
        variables = {"RELAY_API_KEY": key, "SCHEMATHESIS_HOOKS": str(HOOKS)}
        with step(f"Running schemathesis as {who}"):
            if keeper.run([*command, *more], env=variables, cwd=folder):
                raise Failure("What is answered is not what infra/openapi.json says.")
    print("All that was answered is as infra/openapi.json says.")


def described(user: User, receiver: Receiver) -> dict:
    """The document, its examples being what this user has, and a receiver that is there."""
    told, asking, running = user.start("echo", callback_url=receiver.url), user.start("approval"), user.start("slow")
    question = user.wait_for(f"/v1/executions/{asking}", lambda it: it.get("questions"))[0]["id"]
    linked = user.start(LINKED)
    link = user.wait_for(f"/v1/executions/{linked}/answer-links", lambda it: it["answer_links"])[0]["url"]
    token = link.split("#")[1]
    batches = [user.call("POST", "/v1/batches", {"items": [{"agent_name": agent, "input_message": "x"}]})["batch_id"]
               for agent in ("echo", "slow")]  # fmt: skip
    user.wait_for(f"/v1/executions/{running}", lambda it: it["status"] == "running")
    delivery = user.wait_for(f"/v1/executions/{told}/deliveries", delivered)[0]
    subscription, unwanted = user.subscribe(receiver.url), user.subscribe(receiver.url)

    text = (INFRA / "openapi.json").read_text()
    for example, value in (
        (r"mcp-echo-\w{26}\.\w{32}\.\d+\.…", token),
        (r"mcp-batch-\w+", batches[0]),
        (r"mcp-echo-\w{26}", told),
        (r"msg_\w{32}", delivery),
        (r"sub_\w{26}", subscription),
        (r"(?<!\.)\b[0-9a-f]{32}\b", question),
        (r"https://example\.com/[\w/-]+", receiver.url),
    ):
        text = re.sub(example, value, text)
    document = json.loads(text)
    # As the stack serves it.
    document["servers"] = [{"url": user.url}]
    # What the question of the link asks.
    answered = document["components"]["schemas"]["LinkAnswerBody"]["properties"]
    answered |= {"token": {"const": token}, "answer": user.call("GET", f"/v1/executions/{linked}")["questions"][0]["schema"]}
    content = document["paths"]["/v1/answers"]["post"]["requestBody"]["content"]["application/json"]
    content["example"] |= {"token": token, "answer": {"approved": True}}

    usual = {"execution_id": told, "delivery_id": delivery, "subscription_id": subscription, "batch_id": batches[0]}
    special = {
        "answerExecution": {"execution_id": asking},
        "cancelExecution": {"execution_id": running},
        "cancelBatch": {"batch_id": batches[1]},
        "listAnswerLinks": {"execution_id": linked},
        "unsubscribe": {"subscription_id": unwanted},
    }
    for operation in (it for methods in document["paths"].values() for it in methods.values()):
        ids = usual | special.get(operation["operationId"], {})
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                parameter["example"] = ids[parameter["name"]]
            if parameter["name"] == "answer-token":
                parameter["example"] = token
    return document


def delivered(answer: dict) -> list[str]:
    return [delivery["id"] for delivery in answer["deliveries"] if delivery["state"] == "delivered"]
