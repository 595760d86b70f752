"""A second opinion on DynamoDB: moto's, which checks expressions, reserved words and keys as AWS does.

Functions and tests talk to it instead of the engine's DynamoDB. The stack is deployed to the engine as ever, and its
tables are copied then. The engine's IAM does not guard these copies.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

import boto3

import keeper
import logs
from engine import KEEPER, Engine, answers, free_port
from report import Failure, step
from stack import ROOT, Stack

SERVER = pathlib.Path(__file__).with_name("moto_server.py")
VARIABLE = "AWS_ENDPOINT_URL_DYNAMODB"
TABLES = ("ExecutionsTable", "AgentsTable", "ApiKeysTable")

# The tests whose expressions are wanted. What is left out: faults (their proxy is not there), load and many runs
# (moto copies a whole table for each transaction), and what types the commands of the docs or breaks the engine's stack.
# Of the whole workspace, as they are built for `make test`: its parts alone would be built anew.
TESTS = (
    "(package(e2e) | package(relayctl)) & kind(test) & not (binary(commands) | binary(doctor) | binary(faults) | binary(fuzz)"
    " | binary(load) | binary(thousand) | test(a_long_line) | test(no_more_runs_go_on))"
)
# What is kept of a table's description to create it once more.
DEFINITION = ("TableName", "AttributeDefinitions", "KeySchema")
INDEX_DEFINITION = ("IndexName", "KeySchema", "Projection")


class SecondDynamoDb:
    """A process of moto's, which ends when we do, however that is."""

    def __init__(self, python: pathlib.Path, state: pathlib.Path):
        self.python = python
        self.log = state / "moto.log"
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._started: subprocess.Popen | None = None

    def start(self) -> None:
        with step("Starting moto"):
            environment = {"PATH": os.environ["PATH"], "HOME": str(self.log.parent)}
            with self.log.open("wb") as log:
                self._started = subprocess.Popen(
                    [sys.executable, KEEPER, self.python, SERVER, str(self.port)],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            deadline = time.monotonic() + 60
            while not answers(f"{self.endpoint}/moto-api/data.json"):
                if self._started.poll() is not None or time.monotonic() > deadline:
                    raise Failure(f"Moto does not start; see {self.log}.")
                time.sleep(0.05)

    def stop(self) -> None:
        if self._started:
            self._started.stdin.close()
            self._started.wait()

    def copy_tables(self, names: list[str]) -> None:
        """Creates the engine's tables here, keys and indexes as they are, and puts in what they hold."""
        with step("Copying the tables to moto"):
            engine, moto = boto3.client("dynamodb"), boto3.client("dynamodb", endpoint_url=self.endpoint)
            for name in names:
                moto.create_table(**definition(engine.describe_table(TableName=name)["Table"]))
                copy_expiry(engine, moto, name)
                for page in engine.get_paginator("scan").paginate(TableName=name):
                    for item in page["Items"]:
                        moto.put_item(TableName=name, Item=item)


def definition(table: dict) -> dict:
    wanted = {name: table[name] for name in DEFINITION} | {"BillingMode": "PAY_PER_REQUEST"}
    if indexes := table.get("GlobalSecondaryIndexes"):
        wanted["GlobalSecondaryIndexes"] = [{name: index[name] for name in INDEX_DEFINITION} for index in indexes]
    return wanted


def copy_expiry(engine, moto, name: str) -> None:
    expiry = engine.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    if attribute := expiry.get("AttributeName"):
        moto.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"AttributeName": attribute, "Enabled": True}
        )


def check(engine: Engine, stack: Stack, python: pathlib.Path, more: dict[str, str]) -> None:
    """Runs the tests on a stack whose functions keep their tables in moto."""
    moto = SecondDynamoDb(python, engine.state)
    # The functions inherit the engine's environment.
    engine.start(outlives_us=False, more={VARIABLE: moto.endpoint})
    try:
        moto.start()
        environment = stack.deploy()
        outputs = json.loads(environment["RELAY_TEST_OUTPUTS"])
        moto.copy_tables([outputs[table] for table in TABLES])
        command = ["cargo", "nextest", "run", "--workspace", "-E", TESTS, "--test-threads", "2"]
        command += ["--no-fail-fast", *os.environ.get("TEST_ARGS", "").split()]
        with step("Running the tests on moto's DynamoDB"):
            if keeper.run(command, env=os.environ | environment | more | {VARIABLE: moto.endpoint}, cwd=ROOT):
                raise Failure("The tests failed on moto's DynamoDB.")
        logs.check(stack.name)
    finally:
        with step("Stopping the test stack and moto"):
            engine.stop()
            moto.stop()
