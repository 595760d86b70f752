"""The local tool behind the Makefile, which names what it does: build, up, demo, the tests, bench, down."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import webbrowser

import bench
import conformance
import console_check
import demo
import grants
import keeper
import logs
import n8n
import n8n_agents
import n8n_mail
import n8n_package
import openapi_check
import second_dynamodb
from engine import Engine, reserved_port
from report import Failure, step
from stack import ROOT, Stack, build, shell_lines, write_private

LOCAL = ROOT / ".local"
STACK_ENV = LOCAL / "stack.env"
# Seconds for hours, so that a test can wait for what takes a day.
TEST_PARAMETERS = {
    "RetrySchedule": "1,1,2,2",
    "LaunchOverdueSeconds": "5",
    "NewsOverdueSeconds": "5",
    "DeliveryOverdueSeconds": "5",
    # All receivers of the tests are at one host.
    "UserDeliveryLimit": "30000",
    "HostDeliveryLimit": "30000",
    # The tests sweep themselves, when something is overdue.
    "SweepSchedule": "rate(1 day)",
    "OAuthAudiences": "agent-relay-test",
}


def up() -> dict[str, str]:
    build()
    engine = Engine(LOCAL / "agent-relay")
    stack = Stack(engine, "agent-relay", {})
    environment = stack.deployed()
    if environment:
        print(f"The stack is up already, at {environment['RELAY_URL']}")
        return environment
    if engine.keeper() is None:
        engine.start(outlives_us=True)
    environment = stack.deploy()
    write_private(STACK_ENV, shell_lines(environment))
    print(f"The stack is up, at {environment['RELAY_URL']}")
    print(f"Its variables are in {STACK_ENV.relative_to(ROOT)}")
    return environment


def console() -> None:
    """Opens the console, where there is a browser, and says where it is and how to sign in."""
    environment = up()
    address = f"{environment['RELAY_URL']}/console"
    print(f"The console is at {address}")
    print(f"Sign in with {environment['RELAY_API_KEY']}, or as an administrator with {environment['RELAY_ADMIN_KEY']}")
    # Without the key: an address is kept in a browser's history.
    webbrowser.open(address)


def down() -> None:
    with step("Stopping the local stack"):
        stopped = Engine(LOCAL / "agent-relay").stop()
        STACK_ENV.unlink(missing_ok=True)
    print("The stack is down." if stopped else "No stack was up.")


def test(everything: bool = False) -> None:
    # Make, or whatever started us, may be killed: then the tests end too.
    keeper.die_with_parent(signal.SIGTERM)
    build()
    engine = Engine(LOCAL / "test")
    if engine.keeper() is not None:
        raise Failure("Another `make test` runs in this directory.")
    engine.start(outlives_us=False, with_faults=True)
    try:
        issuer = f"http://127.0.0.1:{reserved_port()}"
        parameters = TEST_PARAMETERS | {"OAuthIssuers": f"test={issuer}"}
        environment = os.environ | Stack(engine, "agent-relay-test", parameters).deploy()
        environment["RELAY_TEST_ISSUER"] = issuer
        environment["RELAY_TEST_FAULTS_URL"] = engine.faults
        for command in test_commands(everything):
            with step("Running " + " ".join(command)):
                if keeper.run(command, env=environment, cwd=ROOT):
                    raise Failure("The tests failed.")
        logs.check("agent-relay-test")
        # Of some of the tests nobody can tell what they leave unused.
        if not os.environ.get("TEST_ARGS"):
            grants.check(json.loads(environment["RELAY_TEST_OUTPUTS"]), engine)
    finally:
        with step("Stopping the test stack"):
            engine.stop()


def check_conformance() -> None:
    keeper.die_with_parent(signal.SIGTERM)
    conformance.install()
    build()
    engine = Engine(LOCAL / "conformance")
    if engine.keeper() is not None:
        raise Failure("Another `make conformance` runs in this directory.")
    proxy = conformance.Proxy()
    engine.start(outlives_us=False)
    try:
        stack = Stack(engine, "agent-relay-conformance", TEST_PARAMETERS | {"McpOrigins": proxy.url})
        conformance.run(stack, proxy)
    finally:
        with step("Stopping the conformance stack"):
            engine.stop()


def check_openapi(schemathesis: pathlib.Path) -> None:
    keeper.die_with_parent(signal.SIGTERM)
    build()
    engine = Engine(LOCAL / "openapi")
    if engine.keeper() is not None:
        raise Failure("Another `make test-openapi` runs in this directory.")
    engine.start(outlives_us=False)
    try:
        openapi_check.check(Stack(engine, "agent-relay-openapi", TEST_PARAMETERS), schemathesis.absolute())
        logs.check("agent-relay-openapi")
    finally:
        with step("Stopping the stack"):
            engine.stop()


def check_console(python: pathlib.Path) -> None:
    keeper.die_with_parent(signal.SIGTERM)
    chromium = console_check.browser()
    build()
    engine = Engine(LOCAL / "console")
    if engine.keeper() is not None:
        raise Failure("Another `make test-console` runs in this directory.")
    engine.start(outlives_us=False)
    try:
        issuer = f"http://127.0.0.1:{reserved_port()}"
        stack = Stack(engine, "agent-relay-console", console_check.parameters(issuer))
        console_check.run(stack, python.absolute(), chromium, issuer)
        logs.check("agent-relay-console")
    finally:
        with step("Stopping the stack"):
            engine.stop()


def check_dynamodb(python: pathlib.Path) -> None:
    keeper.die_with_parent(signal.SIGTERM)
    if subprocess.run(["cargo", "nextest", "--version"], capture_output=True, cwd=ROOT).returncode:
        raise Failure("`make test-dynamodb` needs cargo-nextest: see https://nexte.st.")
    build()
    engine = Engine(LOCAL / "dynamodb")
    if engine.keeper() is not None:
        raise Failure("Another `make test-dynamodb` runs in this directory.")
    issuer = f"http://127.0.0.1:{reserved_port()}"
    stack = Stack(engine, "agent-relay-dynamodb", TEST_PARAMETERS | {"OAuthIssuers": f"test={issuer}"})
    second_dynamodb.check(engine, stack, python.absolute(), {"RELAY_TEST_ISSUER": issuer})


def check_n8n() -> None:
    keeper.die_with_parent(signal.SIGTERM)
    versions = n8n.versions()
    every = n8n_package.SCENARIOS + n8n_agents.SCENARIOS + n8n_mail.SCENARIOS + n8n.SCENARIOS
    scenarios = n8n.chosen(every)
    folders = {version: n8n.install(version) for version in versions}
    package = n8n_package.build()
    build()
    for version, folder in folders.items():
        check_n8n_version(version, folder, package, scenarios)


def check_n8n_version(version: str, folder: pathlib.Path, package: pathlib.Path, scenarios: list) -> None:
    print(f"n8n {version}", flush=True)
    engine = Engine(LOCAL / "n8n-stack")
    if engine.keeper() is not None:
        raise Failure("Another `make test-n8n` runs in this directory.")
    app = n8n.N8n(version, folder, LOCAL / "n8n-data")
    engine.start(outlives_us=False)
    try:
        # The pauses between callbacks are those of a real deployment.
        n8n_package.install(package, app)
        author = n8n.author_of(app, Stack(engine, "agent-relay-n8n", {}))
        with step("Importing the workflows"):
            author.import_all()
            n8n_package.import_all(author)
        n8n.run(author, scenarios)
        print(f"All workflows and nodes do in n8n {version} what they say.")
    finally:
        with step("Stopping n8n and its stack"):
            app.kill()
            engine.stop()


def test_commands(everything: bool) -> list[list[str]]:
    more = ["--features", "e2e/all,model/all"] if everything else []
    more += os.environ.get("TEST_ARGS", "").split()
    nextest = subprocess.run(["cargo", "nextest", "--version"], capture_output=True, cwd=ROOT)
    if nextest.returncode:
        return [["cargo", "test", "--workspace", "--no-fail-fast", *more]]
    return [
        ["cargo", "nextest", "run", "--workspace", "--no-fail-fast", *more],
        ["cargo", "test", "--workspace", "--doc"],
    ]


def stop_politely(number: int, _frame: object) -> None:
    """Turns a signal into an exception, so that every `finally` on the way out is run."""
    raise SystemExit(128 + number)


def main() -> None:
    # Whatever account the developer works with otherwise, nothing here may reach it.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop_politely)
    commands = {
        "build": build,
        "up": up,
        "console": console,
        "demo": lambda: demo.run(up()),
        "test": test,
        "test-all": lambda: test(everything=True),
        "conformance": check_conformance,
        "test-openapi": lambda: check_openapi(pathlib.Path(sys.argv[2])),
        "test-console": lambda: check_console(pathlib.Path(sys.argv[2])),
        "test-dynamodb": lambda: check_dynamodb(pathlib.Path(sys.argv[2])),
        "test-n8n": check_n8n,
        "bench": bench.run,
        "down": down,
    }
    try:
        commands[sys.argv[1]]()
    except Failure as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
