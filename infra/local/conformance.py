"""Runs the official MCP conformance suite and the official clients against a deployed stack.

The suite runs twice: on the functions as they are, where the scenarios that need no fixtures count, and on
the MCP function built with the cargo feature `conformance`, which adds the suite's fixtures to the same code.
What may fail, and why, is said in tests/mcp/expectations.json.
"""

import http.client
import http.server
import io
import json
import os
import pathlib
import re
import shutil
import sys
import textwrap
import threading
import typing
import urllib.parse
import zipfile

import boto3

import keeper
from report import Failure, step
from stack import BUILD, ROOT, TARGET, Stack

CLIENTS = ROOT / "tests" / "mcp"
# Node, the suite and the clients, as tests/mcp lists them.
TOOLS = ROOT / ".local" / "mcp"
LISTS = [CLIENTS / name for name in ("package.json", "package-lock.json", "requirements.txt")]
REVISIONS = ("2026-07-28", "2025-11-25")
# Headers of one connection, which mean nothing to the next.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


class Proxy(http.server.ThreadingHTTPServer):
    """Stands before a stack like a custom domain, and adds the key that the suite has no way to send."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Forward)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.stack: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *connection):
        # The suite hangs up whenever it has seen enough.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*connection)


class Forward(http.server.BaseHTTPRequestHandler):
    """Passes a request on as it came, `Host` and `Origin` included, for the suite looks at what they cause."""

    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        stack = urllib.parse.urlsplit(self.server.stack["RELAY_URL"])
        connection = http.client.HTTPConnection(stack.netloc, timeout=60)
        connection.putrequest(self.command, stack.path + self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                connection.putheader(name, value)
        connection.putheader("x-api-key", self.server.stack["RELAY_API_KEY"])
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = forward

    def log_message(self, *_):
        """The suite says itself what it saw."""


def install() -> None:
    """Installs what tests/mcp lists, and again only when the lists have changed."""
    wanted = "".join(file.read_text() for file in LISTS)
    stamp = TOOLS / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if shutil.which("npm") is None:
        raise Failure("make conformance needs npm, of any Node.js, to install the Node.js it uses.")
    with step("Installing Node, the conformance suite and the official clients"):
        shutil.rmtree(TOOLS, ignore_errors=True)
        TOOLS.mkdir(parents=True)
        for file in LISTS:
            shutil.copy2(file, TOOLS)
        for command in (
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            [sys.executable, "-m", "venv", "python"],
            ["python/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"],
        ):
            if keeper.run(command, cwd=TOOLS):
                raise Failure(f"{command[0]} could not install what {CLIENTS.relative_to(ROOT)} lists.")
        stamp.write_text(wanted)


def node() -> pathlib.Path | str:
    """The Node of the package list, or that of the machine where there is none for it."""
    pinned = TOOLS / "node_modules" / ".bin" / "node"
    return pinned if pinned.exists() else "node"


def run(stack: Stack, proxy: Proxy) -> None:
    """Everything, on a stack that is deployed here behind the proxy."""
    environment = stack.deploy()
    expectations = json.loads((CLIENTS / "expectations.json").read_text())
    session = boto3.Session()
    outputs = json.loads(environment["RELAY_TEST_OUTPUTS"])
    proxy.stack = environment

    wrong = []
    for revision in REVISIONS:
        seen = suite(proxy, revision)
        generic = {name: seen.get(name, MISSING) for name in expectations["generic"][revision]}
        wrong += judge(f"MCP {revision}, what needs no fixtures", generic, expectations["exceptions"][revision])
    wrong += drive(environment, stack.create_key("other"))
    verify_a_callback(environment)
    add_fixtures(session, outputs)
    for revision in REVISIONS:
        seen, exceptions = suite(proxy, revision), expectations["exceptions"][revision]
        everything = dict.fromkeys(exceptions, MISSING) | seen
        wrong += judge(f"MCP {revision}, everything, with fixtures", everything, exceptions)
    if wrong:
        raise Failure("\n".join(["MCP is not as expected:", *wrong]))
    print("MCP is as expected, for the suite and for the clients.")


class Ending(typing.NamedTuple):
    """How a scenario ended."""

    word: str  # passes, warns, fails or is missing
    said: str = ""


MISSING = Ending("missing", "It is no scenario of this revision.")


def suite(proxy: Proxy, revision: str) -> dict[str, Ending]:
    """Runs all scenarios of a revision."""
    results = TOOLS / "results" / revision
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    log = results / "log"
    program = TOOLS / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    command = [node(), program, "server", "--url", f"{proxy.url}/mcp", "--requirements", revision]
    with step(f"Running the conformance suite for MCP {revision}"), log.open("wb") as file:
        # Its exit code counts less than is said here: not the extensions, and no warnings.
        keeper.run([*command, "--output-dir", results], cwd=TOOLS, stdout=file, stderr=file)
    # A folder is called server-<scenario>-<time>.
    endings = {folder.name[7:-25]: ending(folder / "checks.json") for folder in results.glob("server-*")}
    announced = re.search(rb"\((\d+) scenarios\)", log.read_bytes())
    if announced is None or int(announced[1]) != len(endings):
        raise Failure(f"The conformance suite did not run to its end; see {log}.")
    return dict(sorted(endings.items()))


def ending(checks: pathlib.Path) -> Ending:
    if not checks.exists():
        return Ending("fails", "It broke off.")
    found = json.loads(checks.read_text())
    for status, word in (("FAILURE", "fails"), ("WARNING", "warns")):
        said = [f"{check['id']}: {check.get('errorMessage')}" for check in found if check["status"] == status]
        if said:
            return Ending(word, "\n".join(textwrap.shorten(line, 300) for line in said))
    return Ending("passes")


def judge(title: str, endings: dict[str, Ending], exceptions: dict[str, dict[str, str]]) -> list[str]:
    """Prints how each scenario ended, and returns what ended otherwise than expected."""
    print(f"\n{title}")
    wrong = []
    for name, (word, said) in endings.items():
        ((expected, reason),) = exceptions.get(name, {"passes": ""}).items()
        if word == expected:
            print(f"  {word:<8}{name:<46}{reason}".rstrip())
        else:
            print(f"  {word:<8}{name:<46}UNEXPECTED")
            print(textwrap.indent(said or f"It is listed because: {reason}", 10 * " "))
            wrong.append(f"  {name} ({title}): {word}, where {expected} is expected.")
    return wrong


def drive(environment: dict[str, str], other_key: str) -> list[str]:
    """Runs the official clients, each as two users."""
    # A module finds its packages beside itself.
    typescript = shutil.copy2(CLIENTS / "client.mjs", TOOLS)
    variables = {
        "PATH": os.environ["PATH"],
        "MCP_URL": f"{environment['RELAY_URL']}/mcp",
        "MCP_KEY": environment["RELAY_API_KEY"],
        "MCP_OTHER_KEY": other_key,
    }
    wrong = []
    for name, command in (
        ("TypeScript", [node(), typescript]),
        ("Python", [TOOLS / "python" / "bin" / "python", CLIENTS / "client.py"]),
    ):
        with step(f"Driving the stack with the official {name} client"):
            if keeper.run(command, env=variables):
                wrong.append(f"  The official {name} client failed.")
    return wrong


def verify_a_callback(environment: dict[str, str]) -> None:
    """Runs the JavaScript of docs/rest.md, for which Node is at hand here."""
    page = (ROOT / "docs" / "rest.md").read_text()
    code = page.partition("```js\n")[2].partition("```")[0]
    (TOOLS / "is-signed.mjs").write_text(code)
    script = shutil.copy2(ROOT / "tests" / "callback.mjs", TOOLS)
    with step("Having the JavaScript of docs/rest.md verify a callback"):
        if keeper.run([node(), script], env=os.environ | environment):
            raise Failure("The JavaScript of docs/rest.md does not verify a callback.")


def add_fixtures(session: boto3.Session, outputs: dict[str, str]) -> None:
    """Puts in the place of the MCP function its build with the suite's fixtures."""
    function = outputs["McpFunctionName"]
    with step("Building the MCP function with the suite's fixtures"):
        if keeper.run([*BUILD, "--features", "mcp/conformance"], cwd=ROOT):
            raise Failure("The MCP function does not build with its feature `conformance`.")
    with step("Deploying it"):
        client = session.client("lambda")
        client.update_function_code(FunctionName=function, ZipFile=zipped(TARGET / "debug" / "mcp"))
        client.get_waiter("function_updated_v2").wait(FunctionName=function)
    with step("Registering the agents that the fixtures start"):
        table = session.resource("dynamodb").Table(outputs["AgentsTable"])
        for name, machine in fixture_machines(session, outputs).items():
            row = {"status": "active", "state_machine_arn": machine, "version": "1.0.0", "tools": []}
            table.put_item(Item={"agent_name": name, "description": "A fixture.", **row})


def fixture_machines(session: boto3.Session, outputs: dict[str, str]) -> dict[str, str]:
    """The state machine of each agent: one does not exist, two ask as `approval` does for what the suite answers."""
    machines = session.client("stepfunctions")
    approval = machines.describe_state_machine(stateMachineArn=outputs["ApprovalMachineArn"])
    definition = json.loads(approval["definition"])
    ask = definition["States"]["Ask"]
    (event,) = ask["Arguments"]["Entries"]
    event["Detail"]["schema"] = {"type": "object", "properties": {"confirm": {"type": "boolean"}}}
    ask["Output"] = {"result": "{% $states.result %}"}
    branches = [{"StartAt": name, "States": {name: ask}} for name in ("This", "That")]
    twice = {"Type": "Parallel", "Branches": branches, "End": True}
    definitions = {
        "confirm_delete": definition,
        "multi_input": {"QueryLanguage": "JSONata", "StartAt": "Twice", "States": {"Twice": twice}},
    }
    created = {
        name: machines.create_state_machine(name=name, definition=json.dumps(text), roleArn=approval["roleArn"])
        for name, text in definitions.items()
    }
    arns = {name: machine["stateMachineArn"] for name, machine in created.items()}
    return arns | {"missing": outputs["EchoMachineArn"] + "-missing"}


def zipped(program: pathlib.Path) -> bytes:
    """The program as Lambda takes it: an executable file called bootstrap."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        file.writestr(entry, program.read_bytes())
    return archive.getvalue()
