"""Builds the functions and deploys infra/template.yaml to a local engine, with the real `sam deploy`."""

import filecmp
import hashlib
import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import urllib.request

import boto3

import keeper
from engine import Engine
from report import Failure, step

ROOT = pathlib.Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
FUNCTIONS = sorted(main.parents[1].name for main in ROOT.glob("functions/*/src/main.rs"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# Only this machine: the demo's and the tests' receivers of callbacks.
LOCAL_PARAMETERS = {
    "Architecture": "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64",
    "CallbackAllow": "127.0.0.1,localhost",
    "McpHosts": "127.0.0.1,localhost",
    # The engine speaks plain http.
    "RequireTls": "false",
}


# All that a stack needs. What is left out has programs of its own; whatever has none stays, since with it the others get the
# features that the tests build them with, and nothing is built twice.
BUILD = ["cargo", "build", "--workspace", "--exclude=bench", "--exclude=floor", "--exclude=model", "--bins"]


def build() -> None:
    """Builds with plain cargo, and touches a binary's copy only when it has changed."""
    with step("Building the functions"):
        if keeper.run(BUILD, cwd=ROOT):
            raise Failure("The functions do not build.")
        for function in FUNCTIONS:
            built, copy = TARGET / "debug" / function, bootstrap(function)
            if not copy.exists() or not filecmp.cmp(built, copy, shallow=False):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(built, copy)


def bootstrap(function: str) -> pathlib.Path:
    return ROOT / "target" / "lambda" / function / "bootstrap"


def fingerprint(parameters: dict[str, str]) -> str:
    """Changes whenever a deployment would."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for file in [INFRA / "template.yaml", *sorted(INFRA.glob("agents/*")), *map(bootstrap, FUNCTIONS)]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


class Stack:
    """One deployment on one engine, with a user's and an administrator's key."""

    def __init__(self, engine: Engine, name: str, parameters: dict[str, str]):
        self.engine = engine
        self.name = name
        self.parameters = LOCAL_PARAMETERS | parameters
        self._record = engine.state / "stack.json"

    def deployed(self) -> dict | None:
        """The variables of the stack, if it is what would be deployed now and answers its user."""
        if self.engine.keeper() is None or not self._record.exists():
            return None
        record = json.loads(self._record.read_text())
        if record["fingerprint"] != fingerprint(self.parameters) or not answers(record["environment"]):
            return None
        return record["environment"]

    def deploy(self) -> dict[str, str]:
        """Creates or updates the stack, and returns its variables."""
        aws = self.engine.aws()
        os.environ.update(aws)
        session = boto3.Session()
        with step(f"Deploying the stack {self.name}"):
            self._sam_deploy()
            outputs = stack_outputs(session, self.name)
            put_gateway_responses(session, outputs, self.name)
            turn_expiry_on(session, outputs)
            url = f"{self.engine.endpoint}/restapis/{outputs['ApiId']}/{outputs['StageName']}/_user_request_"
            name_the_api(session, outputs, url)
        with step("Registering the example agents and two keys"):
            self.run_relayctl("agents", "import", INFRA / "agents" / "agents.json")
            environment = {
                "RELAY_URL": url,
                "RELAY_API_KEY": self.create_key("local"),
                "RELAY_ADMIN_KEY": self.create_key("admin", "--permission", "*:*"),
                **aws,
                "STACK_NAME": self.name,
                "RELAY_TEST_OUTPUTS": json.dumps(outputs),
            }
        record = {"fingerprint": fingerprint(self.parameters), "environment": environment}
        write_private(self._record, json.dumps(record))
        return environment

    def create_key(self, user: str, *more: str) -> str:
        return self.run_relayctl("keys", "create", "--user", user, "--rate-limit", "6000", *more)

    def run_relayctl(self, *arguments: str | pathlib.Path) -> str:
        """Operates the stack as anybody does who has deployed it."""
        command = [TARGET / "debug" / "relayctl", "--stack", self.name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise Failure(f"relayctl failed: {done.stderr}{done.stdout}")
        return done.stdout.strip()

    def _sam_deploy(self) -> None:
        command = [
            pathlib.Path(sys.executable).with_name("sam"), "deploy",
            "--template-file", INFRA / "template.yaml",
            "--stack-name", self.name,
            "--resolve-s3",
            "--capabilities", "CAPABILITY_IAM",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--no-progressbar",
            "--parameter-overrides", *(f"{name}={value}" for name, value in self.parameters.items()),
        ]  # fmt: skip
        environment = os.environ | {
            # A home of its own keeps the developer's AWS profiles and settings of sam out of this.
            "HOME": str(self.engine.state),
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.2",
        }
        log = self.engine.state / "deploy.log"
        with log.open("wb") as file:
            code = keeper.run(command, env=environment, cwd=self.engine.state, stdout=file, stderr=file)
        if code:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise Failure(f"The stack could not be deployed; see {log} and {self.engine.log}.")


def stack_outputs(session: boto3.Session, stack: str) -> dict[str, str]:
    (description,) = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}


def turn_expiry_on(session: boto3.Session, outputs: dict[str, str]) -> None:
    """Does for the table what AWS does by itself: the engine overlooks this in the template."""
    session.client("dynamodb").update_time_to_live(
        TableName=outputs["ExecutionsTable"],
        TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True},
    )


def name_the_api(session: boto3.Session, outputs: dict[str, str], url: str) -> None:
    """The links in callbacks are on API Gateway's host, which only AWS serves; the engine's is known only now."""
    functions, name = session.client("lambda"), outputs["WebhookFunctionName"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables | {"API_URL": url}})


def put_gateway_responses(session: boto3.Session, outputs: dict[str, str], stack: str) -> None:
    """Does for the API what AWS does by itself: the engine overlooks these in the API's definition."""
    template = session.client("cloudformation").get_template(StackName=stack, TemplateStage="Processed")
    body = template["TemplateBody"]["Resources"]["Api"]["Properties"]["Body"]
    gateway = session.client("apigateway")
    for kind, response in body["x-amazon-apigateway-gateway-responses"].items():
        gateway.put_gateway_response(
            restApiId=outputs["ApiId"],
            responseType=kind,
            statusCode=str(response["statusCode"]),
            responseParameters=without_conditions(response["responseParameters"]),
            responseTemplates=response["responseTemplates"],
        )
    gateway.create_deployment(restApiId=outputs["ApiId"], stageName=outputs["StageName"])


def without_conditions(headers: dict) -> dict[str, str]:
    """The headers of a stack without a public URL and without web pages; nothing local looks at the others."""
    values = {name: value["Fn::If"][2] if isinstance(value, dict) else value for name, value in headers.items()}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def answers(environment: dict[str, str]) -> bool:
    """Whether the API lets its user in."""
    request = urllib.request.Request(
        f"{environment['RELAY_URL']}/v1/agents", headers={"x-api-key": environment["RELAY_API_KEY"]}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def write_private(file: pathlib.Path, text: str) -> None:
    """Writes a file that holds keys, so only its owner may read it."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)


def shell_lines(environment: dict[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items())
