"""Runs the workflows of infra/n8n in the real n8n, against a deployed stack.

n8n is installed once, by npm, and is started headless with a database of its own. The workflows are
imported as an author would: only the address of the stack is put in, and the credentials are named.
"""

import base64
import http.cookiejar
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import keeper
from engine import KEEPER, answers, reserved_port
from report import Failure, step
from stack import ROOT, Stack

SOURCES = ROOT / "infra" / "n8n"
TOOLS = ROOT / ".local" / "n8n"
# What an author replaces in a workflow that was imported.
ADDRESS = "https://relay.example.com"
LIMIT_SECONDS = 90
STARTS_WITHIN_SECONDS = 180


def install() -> None:
    """Installs what infra/n8n/package.json names, and again only when that has changed."""
    wanted = (SOURCES / "package.json").read_text()
    stamp = TOOLS / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if shutil.which("npm") is None:
        raise Failure("make test-n8n needs npm, of a Node.js 20 or later, to install n8n.")
    with step("Installing n8n, which takes some minutes and 3 GB"):
        shutil.rmtree(TOOLS, ignore_errors=True)
        TOOLS.mkdir(parents=True)
        shutil.copy2(SOURCES / "package.json", TOOLS)
        for command in (
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            # The one package whose script is needed: it fetches or builds its binary.
            ["npm", "rebuild", "--loglevel=error", "sqlite3"],
        ):
            if keeper.run(command, cwd=TOOLS):
                raise Failure(f"npm could not install what {SOURCES.relative_to(ROOT)} names.")
        stamp.write_text(wanted)


class N8n:
    """One n8n with a database of its own, which outlives a restart but not the tests."""

    def __init__(self, state: pathlib.Path):
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        self.log = state / "n8n.log"
        self.url = f"http://127.0.0.1:{(port := reserved_port())}"
        self._process: subprocess.Popen | None = None
        self._api_key = ""
        # Nothing of the developer's own, and nothing that calls home.
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(state),
            "N8N_USER_FOLDER": str(state),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_PORT": str(port),
            "N8N_RUNNERS_BROKER_PORT": str(reserved_port()),
            "WEBHOOK_URL": self.url,
            "DB_TYPE": "sqlite",
            "N8N_ENCRYPTION_KEY": secrets.token_hex(16),
            "N8N_SECURE_COOKIE": "false",
            "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
            "N8N_TEMPLATES_ENABLED": "false",
        }

    def start(self) -> None:
        with step("Starting n8n"):
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, KEEPER, "node", TOOLS / "node_modules" / "n8n" / "bin" / "n8n", "start"],
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            deadline = time.monotonic() + STARTS_WITHIN_SECONDS
            while not answers(f"{self.url}/healthz/readiness"):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise Failure(f"n8n does not start; see {self.log}.")
                time.sleep(0.2)

    def kill(self) -> None:
        """Ends it at once, as a crash of its machine would."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()

    def set_up(self) -> None:
        """Makes the owner's account, and the key to n8n's own API."""
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

        def rest(method: str, path: str, body: dict | None = None) -> dict:
            return call(opener, method, self.url + path, body)["data"]

        owner = {"email": "owner@example.com", "firstName": "An", "lastName": "Owner"}
        account = owner | {"password": "Aa1" + secrets.token_hex(8)}
        # It is ready a moment before it knows its own routes.
        wait_for("n8n to take its owner", lambda: accepted(lambda: rest("POST", "/rest/owner/setup", account)))
        scopes = rest("GET", "/rest/api-keys/scopes")
        key = rest("POST", "/rest/api-keys", {"label": "test", "scopes": scopes, "expiresAt": None})
        self._api_key = key["rawApiKey"]

    def api(self, method: str, path: str, body: dict | None = None) -> dict:
        """n8n's public API."""
        headers = {"X-N8N-API-KEY": self._api_key}
        return call(urllib.request.build_opener(), method, f"{self.url}/api/v1{path}", body, headers)

    def create_credential(self, name: str, kind: str, data: dict[str, str]) -> str:
        return self.api("POST", "/credentials", {"name": name, "type": kind, "data": data})["id"]

    def add(self, workflow: dict) -> str:
        """Imports a workflow and publishes it; returns its id."""
        taken = {name: workflow[name] for name in ("name", "nodes", "connections", "settings")}
        created = self.api("POST", "/workflows", taken)["id"]
        self.api("POST", f"/workflows/{created}/activate")
        return created

    def post(self, path: str, body: dict, headers: dict[str, str]) -> dict:
        return call(urllib.request.build_opener(), "POST", self.url + path, body, headers)

    def form(self, path: str, account: str, fields: dict[str, str] | None = None) -> None:
        """Looks at a form, or sends it off, as a browser does."""
        request = urllib.request.Request(self.url + path)
        request.add_header("authorization", "Basic " + base64.b64encode(account.encode()).decode())
        if fields:
            boundary = secrets.token_hex(16)
            part = f'--{boundary}\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
            request.data = ("".join(part % field for field in fields.items()) + f"--{boundary}--\r\n").encode()
            request.add_header("content-type", f"multipart/form-data; boundary={boundary}")
        send(urllib.request.build_opener(), request)

    def runs(self, workflow: str, status: str) -> list[str]:
        """The executions of a workflow that are in a status, oldest first."""
        found = self.api("GET", f"/executions?workflowId={workflow}&status={status}&limit=250")["data"]
        return [execution["id"] for execution in reversed(found)]

    def run(self, execution: str) -> dict:
        return self.api("GET", f"/executions/{execution}?includeData=true")


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, text: str):
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


def call(
    opener: urllib.request.OpenerDirector,
    method: str,
    url: str,
    body: dict | None = None,
    headers: dict[str, str] | None = None,
) -> dict:
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json", **(headers or {})},
    )
    return json.loads(send(opener, request) or b"null")


def send(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> bytes:
    try:
        with opener.open(request, timeout=LIMIT_SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise Refused(error.code, error.read().decode(errors="replace")) from None


def accepted(request) -> bool:
    try:
        request()
    except Refused as refusal:
        if refusal.status != 404:
            raise
        return False
    return True


def wait_for(what: str, found, seconds: float = LIMIT_SECONDS):
    """Waits for something to be found, and returns it."""
    deadline = time.monotonic() + seconds
    while not (it := found()):
        if time.monotonic() > deadline:
            raise Failure(f"Waited {seconds} s in vain for {what}.")
        time.sleep(0.2)
    return it


class Author:
    """Somebody who has imported the workflows and filled in what they ask for."""

    def __init__(self, n8n: N8n, environment: dict[str, str]):
        self.n8n = n8n
        self._relay_url = environment["RELAY_URL"]
        self._relay_key = environment["RELAY_API_KEY"]
        self._secret = secrets.token_hex(16)
        self._workflows: dict[str, str] = {}

    def import_all(self) -> None:
        signing_secret = self.relay("GET", "/v1/webhook-secret")["secret"].removeprefix("whsec_")
        for name, kind, data in (
            ("agent-relay key", "httpHeaderAuth", {"name": "x-api-key", "value": self._relay_key}),
            ("Callers of my workflows", "httpHeaderAuth", self.header),
            ("agent-relay signing secret", "crypto", {"hmacSecret": base64.b64decode(signing_secret).decode()}),
            ("People who may approve", "httpBasicAuth", {"user": "boss", "password": self._secret}),
        ):
            self.n8n.create_credential(name, kind, data)
        for file in sorted((SOURCES / "workflows").glob("*.json")):
            self._workflows[file.stem] = self.n8n.add(self.read(file.stem))

    @property
    def header(self) -> dict[str, str]:
        """The header that the workflows' webhooks ask for."""
        return {"name": "x-caller", "value": self._secret}

    def read(self, name: str) -> dict:
        """A workflow of the repository, with the stack's address put in."""
        text = (SOURCES / "workflows" / f"{name}.json").read_text()
        return json.loads(text.replace(ADDRESS, self._relay_url))

    def add(self, name: str, workflow: dict) -> None:
        """Imports one more workflow."""
        self._workflows[name] = self.n8n.add(workflow)

    def call(self, name: str, body: dict, secret: str | None = None) -> dict:
        """Calls the webhook of a workflow, and returns what it responds."""
        headers = {self.header["name"]: self._secret if secret is None else secret}
        return self.n8n.post(f"/webhook/agent-relay-{name}", body, headers)

    def relay(self, method: str, path: str, body: dict | None = None) -> dict:
        """Asks agent-relay itself."""
        headers = {"x-api-key": self._relay_key}
        return call(urllib.request.build_opener(), method, self._relay_url + path, body, headers)

    def runs(self, name: str, status: str = "success") -> list[str]:
        return self.n8n.runs(self._workflows[name], status)

    def new_run(self, name: str, status: str, before: list[str]) -> dict:
        """Waits for a run of a workflow that is in a status, and was not before."""
        found = wait_for(
            f"a run of {name} in the status {status}",
            lambda: [run for run in self.runs(name, status) if run not in before],
        )
        return self.n8n.run(found[0])


def check(what: str, truth: bool, seen: object) -> None:
    if not truth:
        raise Failure(f"{what}: not so, but {json.dumps(seen)[:2000]}")
    print(f"  {what}", flush=True)


def outputs(run: dict, node: str) -> list[dict]:
    """What a node of a run gave, each time that it was run."""
    runs = run["data"]["resultData"]["runData"].get(node, [])
    return [item["json"] for it in runs for output in it["data"]["main"] for item in output or []]


def run(stack: Stack, n8n: N8n) -> None:
    environment = stack.deploy()
    n8n.start()
    n8n.set_up()
    author = Author(n8n, environment)
    with step("Importing the workflows"):
        author.import_all()
    for scenario in SCENARIOS:
        with step(scenario.__doc__):
            scenario(author)
    print("All workflows do in n8n what they say.")


def answers_with_the_result(author: Author, name: str) -> None:
    answer = author.call(name, {"message": "Hello"})
    check("the workflow responds with the agent's result", answer.get("result") == "Hello", answer)


def call_back(author: Author) -> None:
    """Starting an agent and being called back"""
    answers_with_the_result(author, "call-back")
    run = author.new_run("call-back", "success", [])
    (looked,) = outputs(run, "Get the results")
    check("it was called back once, at the end", looked["status"] == "completed", looked)


def poll(author: Author) -> None:
    """Starting an agent and polling"""
    answers_with_the_result(author, "poll")


def one_request(author: Author) -> None:
    """Running an agent in one request"""
    answers_with_the_result(author, "one-request")


def called_by_agent_relay(author: Author) -> None:
    """Being called by agent-relay"""
    url, header = f"{author.n8n.url}/webhook/agent-relay-event", author.header
    start = {"agent_name": "echo", "input_message": "Hello", "parameters": {"wait_seconds": 0}, "callback_url": url}
    started = author.relay("POST", "/v1/executions", start | {"callback_headers": {header["name"]: header["value"]}})
    run = author.new_run("called-by-agent-relay", "success", [])
    (said,) = outputs(run, "What the agent says")
    check("the signature is right, and the result is read", said["result"] == "Hello", said)

    path = f"/v1/executions/{started['execution_id']}/deliveries"
    (delivery,) = wait_for("the delivery", lambda: [it for it in author.relay("GET", path)["deliveries"] if it["state"] == "delivered"])
    author.relay("POST", f"{path}/{delivery['id']}/redeliver")
    again = author.new_run("called-by-agent-relay", "success", [run["id"]])
    check("the same callback again is accepted and dropped", not outputs(again, "What the agent says"), again["id"])

    status = refusal(lambda: author.call("event", {"type": "execution.completed", "data": {"result": "forged"}}))
    check("a body without a signature is refused", status == 401, status)
    status = refusal(lambda: author.call("event", {}, secret="wrong"))
    check("a caller without the header's secret is refused", status == 403, status)


def mcp(author: Author) -> None:
    """Starting an agent by the MCP Client node"""
    answers_with_the_result(author, "mcp")


def approval(author: Author) -> None:
    """Having a human answer an agent"""
    answer = author.call("approval", {"message": "Send the report."})
    check("the workflow responds with the question", "Send the report." in answer.get("question", ""), answer)
    path = answer["form"].removeprefix(author.n8n.url)
    boss = f"boss:{author.header['value']}"
    # Whoever looks for the form before the workflow is there is left hanging by n8n.
    wait_for("the form", lambda: author.n8n.run(path.rpartition("/")[2])["status"] == "waiting")
    author.n8n.form(path, boss)
    status = refusal(lambda: author.n8n.form(path, "boss:wrong", {"field-0": "Yes"}))
    check("only those who may approve get the form", status == 401, status)
    author.n8n.form(path, boss, {"field-0": "Yes", "field-1": "Go on."})
    run = author.new_run("approval", "success", [])
    (said,) = outputs(run, "What the agent says")
    check("the agent has the answer", said["result"] == "Approved: Go on.", said)


def fan_out(author: Author) -> None:
    """Running twenty agents at once and gathering their results"""
    messages = [f"Message {number}" for number in range(20)]
    answer = author.call("fan-out", {"messages": messages})
    results = [run["result"] for run in answer["results"]]
    check("all twenty results are gathered, in their order", results == messages, answer)


def refusal(request) -> int:
    """The status with which a request is refused."""
    try:
        request()
    except Refused as refused:
        return refused.status
    return 200


SCENARIOS = [call_back, poll, one_request, called_by_agent_relay, mcp, approval, fan_out]
