"""Runs the workflows of infra/n8n in the real n8n, against a deployed stack.

n8n is installed once, by npm, and is started headless with a database of its own. The workflows are
imported as an author would: only the address of the stack is put in, and the credentials are named.
"""

import base64
import collections
import concurrent.futures
import hmac
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
import urllib.parse
import urllib.request
import uuid

import boto3

import keeper
from engine import KEEPER, answers, reserved_port
from report import Failure, step
from stack import ROOT, Stack

SOURCES = ROOT / "infra" / "n8n"
TOOLS = ROOT / ".local" / "n8n"
# The oldest and the newest n8n that are tested; each folder names one, and what it needs.
VERSIONS = ["2.8.4", "2.41.1"]
# What an author replaces in a workflow that was imported.
ADDRESS = "https://relay.example.com"
# Agents of the test beside the examples: one asks and may be answered by a link, one describes its parameters.
LINKED, TYPED = "linked", "typed"
PARAMETERS = ROOT / "infra" / "local" / "n8n_parameters.json"
LIMIT_SECONDS = 90
STARTS_WITHIN_SECONDS = 180
GOING_ON = ["new", "running", "waiting"]


def versions() -> list[str]:
    """The versions to test: all, or the one that N8N_VERSION names."""
    wanted = os.environ.get("N8N_VERSION")
    if wanted and wanted not in VERSIONS:
        raise Failure(f"N8N_VERSION is one of {', '.join(VERSIONS)}, not {wanted}.")
    return [wanted] if wanted else VERSIONS


def chosen(scenarios: list) -> list:
    """The scenarios to run: all, or those that N8N_SCENARIOS names."""
    wanted = os.environ.get("N8N_SCENARIOS", "").replace(",", " ").split()
    known = {scenario.__name__ for scenario in scenarios}
    if unknown := set(wanted) - known:
        raise Failure(f"N8N_SCENARIOS names {', '.join(sorted(unknown))}, but there are {', '.join(sorted(known))}.")
    return [scenario for scenario in scenarios if not wanted or scenario.__name__ in wanted]


def install(version: str) -> pathlib.Path:
    """Installs one n8n, again only when what names it has changed, and returns its folder."""
    source, folder = SOURCES / "versions" / version / "package.json", TOOLS / version
    wanted, stamp = source.read_text(), folder / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    if shutil.which("npm") is None:
        raise Failure("make test-n8n needs npm, of a Node.js 20 or later, to install n8n.")
    with step(f"Installing n8n {version}, which takes some minutes and 3 GB"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy2(source, folder)
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        commands = [["npm", "install", "--ignore-scripts", *quiet]]
        if "node" in json.loads(wanted)["dependencies"]:
            # Its script fetches the Node.js that this n8n needs, for the next script to build for.
            commands.append(["npm", "rebuild", "--loglevel=error", "node"])
        # The one other package whose script is needed: it fetches or builds its binary.
        commands.append(["npm", "rebuild", "--loglevel=error", "sqlite3"])
        for command in commands:
            if keeper.run(command, cwd=folder, env=os.environ | {"PATH": path_of(folder)}):
                raise Failure(f"npm could not install what {source.relative_to(ROOT)} names.")
        stamp.write_text(wanted)
    return folder


def path_of(folder: pathlib.Path) -> str:
    """The PATH on which an n8n finds its own Node.js, if it has one, before any other."""
    return f"{folder / 'node_modules' / '.bin'}:{os.environ['PATH']}"


class N8n:
    """One n8n with a database of its own, which outlives a restart but not the tests."""

    def __init__(self, version: str, folder: pathlib.Path, state: pathlib.Path):
        self._program = folder / "node_modules" / "n8n" / "bin" / "n8n"
        # Since then a workflow that fails before it responds answers with an error.
        self.tells_errors = [int(part) for part in version.split(".")] >= [2, 41, 0]
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        self.log = state / "n8n.log"
        # Where it keeps the nodes of others.
        self.nodes_folder = state / ".n8n" / "nodes"
        self.url = f"http://127.0.0.1:{(port := reserved_port())}"
        self._process: subprocess.Popen | None = None
        self._api_key = ""
        cookies = http.cookiejar.CookieJar()
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        # Nothing of the developer's own, and nothing that calls home.
        self._environment = {
            "PATH": path_of(folder),
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
                    [sys.executable, KEEPER, shutil.which("node", path=self._environment["PATH"]), self._program, "start"],
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            deadline = time.monotonic() + STARTS_WITHIN_SECONDS
            # It is ready a moment before it knows its own routes.
            while not (answers(f"{self.url}/healthz/readiness") and answers(f"{self.url}/rest/settings")):
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
        owner = {"email": "owner@example.com", "firstName": "An", "lastName": "Owner"}
        account = owner | {"password": "Aa1" + secrets.token_hex(8)}
        self.page("POST", "/owner/setup", account)
        scopes = self.page("GET", "/api-keys/scopes")
        key = self.page("POST", "/api-keys", {"label": "test", "scopes": scopes, "expiresAt": None})
        self._api_key = key["rawApiKey"]

    def page(self, method: str, path: str, body: dict | None = None) -> dict:
        """What n8n's own pages ask of it."""
        return call(self._browser, method, f"{self.url}/rest{path}", body)["data"]

    def api(self, method: str, path: str, body: dict | None = None) -> dict:
        """n8n's public API."""
        headers = {"X-N8N-API-KEY": self._api_key}
        return call(urllib.request.build_opener(), method, f"{self.url}/api/v1{path}", body, headers)

    def create_credential(self, name: str, kind: str, data: dict[str, str | int | bool]) -> str:
        return self.api("POST", "/credentials", {"name": name, "type": kind, "data": data})["id"]

    def add(self, workflow: dict) -> str:
        """Imports a workflow and publishes it; returns its id."""
        taken = {name: workflow[name] for name in ("name", "nodes", "connections", "settings")}
        created = self.api("POST", "/workflows", taken)["id"]
        self.api("POST", f"/workflows/{created}/activate")
        self._await_webhooks(taken["nodes"])
        return created

    def _await_webhooks(self, nodes: list[dict]) -> None:
        """Waits until n8n knows the webhooks of a workflow, which newer ones publish after they have answered."""
        for node in nodes:
            if node["type"] == "n8n-nodes-base.webhook":
                path = node["parameters"]["path"]
                wait_for(f"the webhook {path}", lambda path=path: self._knows(path))

    def _knows(self, path: str) -> bool:
        """Whether a webhook is registered. A GET starts none, since all of them take a POST."""
        try:
            send(urllib.request.build_opener(), urllib.request.Request(f"{self.url}/webhook/{path}"))
        except Refused as refused:
            # It says of which method there is one: "Did you mean to make a POST request?"
            return refused.status != 404 or "POST request" in str(refused)
        return True

    def deactivate(self, workflow: str) -> None:
        self.api("POST", f"/workflows/{workflow}/deactivate")

    def credential(self, name: str, kind: str) -> dict[str, str]:
        """How a node names a credential."""
        found = self.page("GET", "/credentials")
        (found,) = (it for it in found if (it["name"], it["type"]) == (name, kind))
        return {"id": found["id"], "name": name}

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
        return [run["id"] for run in self.all_runs(workflowId=workflow, status=[status])]

    def all_runs(self, **wanted: str | list[str]) -> list[dict]:
        """The last hundred executions of all workflows, oldest first."""
        # The public API leaves out those that wait.
        wanted = urllib.parse.quote(json.dumps(wanted))
        return self.page("GET", f"/executions?filter={wanted}&limit=100")["results"][::-1]

    def run(self, execution: str) -> dict:
        return self.api("GET", f"/executions/{execution}?includeData=true")


class Refused(Failure):
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
        # Where n8n finds a mail server, while a scenario has one.
        self.mail_port = reserved_port()
        whsec = self.relay("GET", "/v1/webhook-secret")["secret"]
        self._signing_secret = base64.b64decode(whsec.removeprefix("whsec_"))
        self._workflows: dict[str, str] = {}
        self.errors_seen: set[str] = set()

    def import_all(self) -> None:
        for name, kind, data in (
            ("agent-relay key", "httpHeaderAuth", {"name": "x-api-key", "value": self._relay_key}),
            ("Callers of my workflows", "httpHeaderAuth", self.header),
            ("agent-relay signing secret", "crypto", {"hmacSecret": self._signing_secret.decode()}),
            ("People who may approve", "httpBasicAuth", {"user": "boss", "password": self._secret}),
            ("Mail server", "smtp", self.mail_server),
        ):
            self.n8n.create_credential(name, kind, data)
        for file in sorted((SOURCES / "workflows").glob("*.json")):
            self._workflows[file.stem] = self.n8n.add(self.read(file.stem))

    @property
    def relay_access(self) -> tuple[str, str]:
        """The address of agent-relay and the author's key."""
        return self._relay_url, self._relay_key

    def workflow(self, name: str) -> str:
        """The id of an imported workflow."""
        return self._workflows[name]

    @property
    def header(self) -> dict[str, str]:
        """The header that the workflows' webhooks ask for."""
        return {"name": "x-caller", "value": self._secret}

    @property
    def mail_server(self) -> dict[str, str | int | bool]:
        """What n8n knows of the mail server, which is on this machine and asks nobody who they are."""
        nobody = {"user": "", "password": "", "hostName": ""}
        return nobody | {"host": "127.0.0.1", "port": self.mail_port, "secure": False, "disableStartTls": True}

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

    def tell(self, name: str, event: dict) -> None:
        """Calls a workflow with an event that is signed as agent-relay signs it."""
        head = {"webhook-id": f"msg_{secrets.token_hex(16)}", "webhook-timestamp": str(int(time.time()))}
        signed = ".".join([*head.values(), json.dumps(event)])
        signature = base64.b64encode(hmac.digest(self._signing_secret, signed.encode(), "sha256")).decode()
        head |= {"webhook-signature": f"v1,{signature}", self.header["name"]: self._secret}
        self.n8n.post(f"/webhook/agent-relay-{name}", event, head)

    def relay(self, method: str, path: str, body: dict | None = None) -> dict:
        """Asks agent-relay itself."""
        headers = {"x-api-key": self._relay_key}
        return call(urllib.request.build_opener(), method, self._relay_url + path, body, headers)

    def runs(self, name: str, status: str = "success") -> list[str]:
        return self.n8n.runs(self._workflows[name], status)

    def new_run(self, name: str, status: str, before: list[str], seconds: float = LIMIT_SECONDS) -> dict:
        """Waits for a run of a workflow that is in a status, and was not before."""
        found = wait_for(
            f"a run of {name} in the status {status}",
            lambda: [run for run in self.runs(name, status) if run not in before],
            seconds,
        )
        if status == "error":
            self.errors_seen.add(found[0])
        return self.n8n.run(found[0])

    def delivery(self, execution: str) -> dict:
        """The callback of an agent's execution, once it is recorded as delivered."""

        def delivered() -> list[dict]:
            deliveries = self.relay("GET", f"/v1/executions/{execution}/deliveries")["deliveries"]
            return [it for it in deliveries if (it["target"], it["state"]) == ("callback", "delivered")]

        (delivery,) = wait_for("the callback to be recorded", delivered)
        return delivery

    def parameters(self, execution: str) -> dict:
        """With which parameters an agent was started."""
        results = self.relay("GET", f"/v1/executions/{execution}/results?include_metadata=true")
        arn = results["metadata"]["execution_arn"]
        return json.loads(boto3.client("stepfunctions").describe_execution(executionArn=arn)["input"])["parameters"]

    def attempts(self, run: dict) -> list[int | None]:
        """How n8n answered each attempt to call a run back; None where it did not."""
        delivery = self.delivery(outputs(run, "Start the agent")[0]["execution_id"])
        return [attempt["status"] for attempt in delivery["attempts"]]


def check(what: str, truth: bool, seen: object) -> None:
    if not truth:
        raise Failure(f"{what}: not so, but {json.dumps(seen)[:2000]}")
    print(f"  {what}", flush=True)


def outputs(run: dict, node: str) -> list[dict]:
    """What a node of a run gave, each time that it was run."""
    runs = run["data"]["resultData"]["runData"].get(node, [])
    return [item["json"] for it in runs for output in it["data"]["main"] for item in output or []]


def author_of(n8n: N8n, stack: Stack) -> Author:
    """Somebody with an n8n that was just started, and a key."""
    environment = stack.deploy()
    machines = json.loads(environment["RELAY_TEST_OUTPUTS"])
    for agent, machine, more in (
        (LINKED, "ApprovalMachineArn", ["--answer-links"]),
        (TYPED, "EchoMachineArn", ["--parameters-schema", PARAMETERS]),
    ):
        stack.run_relayctl("agents", "put", agent, "--machine", machines[machine], *more)
    n8n.start()
    n8n.set_up()
    return Author(n8n, environment)


def run(author: Author, scenarios: list) -> None:
    """Runs the scenarios, and says which executions of n8n each made and how these ended."""
    table = []
    try:
        for scenario in scenarios:
            before = {it["id"] for it in author.n8n.all_runs()}
            with step(scenario.__doc__):
                scenario(author)
                all_end(author.n8n)
            ended = [it for it in author.n8n.all_runs() if it["id"] not in before]
            table.append((scenario.__doc__, collections.Counter((it["workflowName"], it["status"]) for it in ended)))
            # No workflow may fail but where the scenario looks at its error.
            failed = [it for it in ended if it["status"] != "success" and it["id"] not in author.errors_seen]
            if failed:
                raise Failure(f"Executions failed: {json.dumps(failed)[:2000]}")
    finally:
        print("What n8n's executions came to, where an error is one that the scenario is about:")
        for what, counts in table:
            print(f"  {what}{'' if counts else ': none'}", flush=True)
            for (workflow, status), count in counts.items():
                print(f"    {count:3} x {status:7}  {workflow}", flush=True)


def all_end(n8n: N8n) -> None:
    """Waits until no execution goes on, and names those that do."""
    try:
        wait_for("all executions to end", lambda: not n8n.all_runs(status=GOING_ON))
    except Failure as failure:
        left = [(it["id"], it["workflowName"], it["status"]) for it in n8n.all_runs(status=GOING_ON)]
        raise Failure(f"{failure} These go on: {left}") from None


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

    delivery = author.delivery(started["execution_id"])
    author.relay("POST", f"/v1/executions/{started['execution_id']}/deliveries/{delivery['id']}/redeliver")
    again = author.new_run("called-by-agent-relay", "success", [run["id"]])
    check("the same callback again is accepted and dropped", not outputs(again, "What the agent says"), again["id"])

    status = refusal(lambda: author.call("event", {"type": "execution.completed", "data": {"result": "forged"}}))
    check("a body without a signature is refused", status == 401, status)
    status = refusal(lambda: author.call("event", {}, secret="wrong"))
    check("a caller without the header's secret is refused", status == 403, status)


def called_many_times_at_once(author: Author) -> None:
    """Being called by agent-relay twenty times at once, and never before"""
    author.add("many", variant(author.read("called-by-agent-relay"), "many"))
    results = [f"Result {number}" for number in range(20)]
    with concurrent.futures.ThreadPoolExecutor(len(results)) as pool:
        list(pool.map(lambda result: author.tell("many", {"data": {"result": result}}), results))
    wait_for("all to succeed", lambda: len(author.runs("many")) == len(results))
    runs = [author.n8n.run(run) for run in author.runs("many")]
    said = [said["result"] for run in runs for said in outputs(run, "What the agent says")]
    check("none is lost", sorted(said) == sorted(results), said)


def mcp(author: Author) -> None:
    """Starting an agent by the MCP Client node"""
    answers_with_the_result(author, "mcp")


def mcp_refused(author: Author) -> None:
    """Ending when the MCP Client node is refused"""
    for name, change, told in (
        ("mcp-unknown", agent_named("nobody"), "not found"),
        ("mcp-failing", agent_named("fail"), "failed"),
        ("mcp-lost", monitored("mcp-nobody-1"), "not found"),
    ):
        workflow = variant(author.read("mcp"), name)
        change(workflow)
        author.add(name, workflow)
        try:
            said = f"200: {author.call(name, {'message': 'Hello'})}"
        except Refused as refused:
            said = str(refused)
        right = said.startswith("502: {") and (told in said or "ended without a result" in said)
        check(f"{name} ends, and says why", right, said)


def agent_named(agent: str):
    """Has a workflow run another agent."""

    def change(workflow: dict) -> None:
        set_fields = node_of(workflow, "Settings")["parameters"]["assignments"]["assignments"]
        next(field for field in set_fields if field["name"] == "agent_name")["value"] = agent

    return change


def monitored(execution: str):
    """Has a workflow look at another execution."""

    def change(workflow: dict) -> None:
        asked = json.dumps({"execution_id": execution})
        node_of(workflow, "Monitor it")["parameters"]["jsonInput"] = f"={{{{ {asked} }}}}"

    return change


def approval(author: Author) -> None:
    """Having a human answer an agent"""
    answer = author.call("approval", {"message": "Send the report."})
    check("the workflow responds with the question", "Send the report." in answer.get("question", ""), answer)
    path = answer["form"].removeprefix(author.n8n.url)
    boss = f"boss:{author.header['value']}"
    # Whoever looks for the form before the workflow is there is left hanging by n8n.
    execution = urllib.parse.urlsplit(path).path.rpartition("/")[2]
    wait_for("the form", lambda: author.n8n.run(execution)["status"] == "waiting")
    author.n8n.form(path, boss)
    status = refusal(lambda: author.n8n.form(path, "boss:wrong", {"field-0": "Yes"}))
    check("only those who may approve get the form", status == 401, status)
    author.n8n.form(path, boss, {"field-0": "Yes", "field-1": "Go on."})
    run = author.new_run("approval", "success", [])
    (said,) = outputs(run, "What the agent says")
    check("the agent has the answer", said["result"] == "Approved: Go on.", said)


def fan_out(author: Author) -> None:
    """Running fifty agents at once and gathering their results"""
    messages = [f"Message {number}" for number in range(50)]
    answer = author.call("fan-out", {"messages": messages})
    results = [run["result"] for run in answer["results"]]
    check("all fifty results are gathered, in their order", results == messages, answer)


def fails(author: Author, name: str, body: dict) -> None:
    """Calls a workflow that fails before it responds."""
    try:
        answer = author.call(name, body)
    except Refused as refused:
        told = refused.status == 500 and "Error in workflow" in str(refused)
        check("the caller is told that the workflow failed", author.n8n.tells_errors and told, str(refused))
    else:
        # An older n8n answers with a 200 that is empty.
        check("the caller gets no result", not author.n8n.tells_errors and answer is None, answer)


def refusal(request) -> int:
    """The status with which a request is refused."""
    try:
        request()
    except Refused as refused:
        return refused.status
    return 200


def without_response(workflow: dict) -> dict:
    """The same workflow for a caller who does not wait for it."""
    responses = {node["name"] for node in workflow["nodes"] if node["type"].endswith(".respondToWebhook")}
    workflow["nodes"] = [node for node in workflow["nodes"] if node["name"] not in responses]
    for links in workflow["connections"].values():
        links["main"] = [[to for to in output if to["node"] not in responses] for output in links["main"]]
    node_of(workflow, "Webhook")["parameters"]["responseMode"] = "onReceived"
    return workflow


def variant(workflow: dict, name: str) -> dict:
    """Gives the workflow a name and an address of its own."""
    workflow["name"] = name
    webhook = node_of(workflow, "Webhook")
    webhook["parameters"]["path"] = f"agent-relay-{name}"
    webhook["webhookId"] = str(uuid.uuid4())
    return workflow


def node_of(workflow: dict, name: str) -> dict:
    return next(node for node in workflow["nodes"] if node["name"] == name)


def called_back_early(author: Author) -> None:
    """Calling back before the workflow waits, since a step before takes four seconds"""
    workflow = variant(without_response(author.read("call-back")), "early")
    slow_step = node_of(author.read("poll"), "Pause") | {"name": "Slow step"}
    slow_step["parameters"] = slow_step["parameters"] | {"amount": 4}
    workflow["nodes"].append(slow_step)
    links = workflow["connections"]
    links["Slow step"] = links["Start the agent"]
    links["Start the agent"] = {"main": [[{"node": "Slow step", "type": "main", "index": 0}]]}
    author.add("early", workflow)

    author.call("early", {"message": "Hello"})
    run = author.new_run("early", "success", [])
    attempts = author.attempts(run)
    check(f"it was called back until it waited: {attempts}", attempts[0] == 409 and attempts[-1] == 200, attempts)
    result = outputs(run, "Is it completed?")[0]["result"]
    check("it has the agent's result", result == "Hello", result)


def twenty_at_once(author: Author) -> None:
    """Running twenty workflows at once, each called back"""
    messages = [f"Message {number}" for number in range(20)]
    with concurrent.futures.ThreadPoolExecutor(len(messages)) as pool:
        answers = list(pool.map(lambda message: author.call("call-back", {"message": message}), messages))
    results = [answer.get("result") for answer in answers]
    check("each responds with its own agent's result", results == messages, answers)


def wrong_credential(author: Author) -> None:
    """Starting an agent with a key that is none"""
    author.n8n.create_credential("A wrong key", "httpHeaderAuth", {"name": "x-api-key", "value": "relay_wrong"})
    workflow = variant(author.read("call-back"), "wrong")
    node_of(workflow, "Start the agent")["credentials"]["httpHeaderAuth"]["name"] = "A wrong key"
    author.add("wrong", workflow)

    fails(author, "wrong", {"message": "Hello"})
    error = author.new_run("wrong", "error", [])["data"]["resultData"]["error"]
    check("the workflow says that the key is refused", error.get("httpCode") == "401", error.get("message"))


def n8n_restarts(author: Author) -> None:
    """Ending a run while n8n restarts"""
    author.add("restart", variant(without_response(author.read("call-back")), "restart"))
    run = run_while_n8n_is_away(author, 0)
    attempts = author.attempts(run)
    check(f"it was called back until n8n was there: {attempts}", len(attempts) > 1 and attempts[-1] == 200, attempts)


def n8n_is_down(author: Author) -> None:
    """Ending a run while n8n is down for a minute"""
    run = run_while_n8n_is_away(author, 60)
    attempts = author.attempts(run)
    # After 1, 2, 4, 8 and 15 s nobody was there; the next attempt is a minute later.
    after = attempts[:6] == [None] * 6 and attempts[-1] == 200
    check(f"it was called back after the minute: {attempts}", after, attempts)


def run_while_n8n_is_away(author: Author, seconds: float) -> dict:
    """Has an agent end while n8n is killed and away for some time, and returns the workflow's run."""
    before = author.runs("restart")
    author.call("restart", {"message": "Hello"})
    author.new_run("restart", "waiting", [])
    author.n8n.kill()
    time.sleep(seconds)
    author.n8n.start()
    run = author.new_run("restart", "success", before, seconds=150)
    result = outputs(run, "Is it completed?")[0]["result"]
    check("the workflow that was waiting has the agent's result", result == "Hello", result)
    return run


SCENARIOS = [
    call_back,
    poll,
    one_request,
    called_by_agent_relay,
    called_many_times_at_once,
    mcp,
    mcp_refused,
    approval,
    fan_out,
    called_back_early,
    twenty_at_once,
    wrong_credential,
    n8n_restarts,
    n8n_is_down,
]
