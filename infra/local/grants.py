"""Compares what each function's role grants with the calls that the proxy has seen the function make."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator

import boto3

from engine import Engine
from report import Failure, step

# What is called for a function by others, and so not by the function through the proxy.
OF_OTHERS = {
    "kms:Decrypt": "Step Functions, for an agent's own key",
    "logs:CreateLogStream": "Lambda",
    "logs:PutLogEvents": "Lambda",
    "sqs:DeleteMessage": "Lambda's poller",
    "sqs:GetQueueAttributes": "Lambda's poller",
    "sqs:ReceiveMessage": "Lambda's poller",
    "xray:PutTelemetryRecords": "Lambda",
    "xray:PutTraceSegments": "Lambda",
}
# The queues to which Lambda alone sends, by the function's role: the events on which it failed.
FAILURES = ("StatusFailures", "SweepFailures")
PREFIXES = {"stepfunctions": "states", "monitoring": "cloudwatch"}
# A transaction asks for the right to each of its writes.
TRANSACTION = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
TRANSACTED = "transacted="

Seen = tuple[str, str, str, str]


def check(outputs: dict[str, str], engine: Engine) -> None:
    """Fails when a role grants what its function has never used, of those of which the proxy sees all calls."""
    with step("Comparing the roles' grants with the calls that were made"):
        with urllib.request.urlopen(f"{engine.faults}/_microburst/seen", timeout=30) as answer:
            seen = [tuple(call) for call in json.load(answer)]
        functions = {call[0] for call in seen}
        names = {function: outputs[f"{function.capitalize()}FunctionName"] for function in functions}
        grants = {function: list(granted(name)) for function, name in sorted(names.items())}
        unused = [f"  {by}: {grant}" for by, given in grants.items() for grant in never_used(by, given, seen)]
        if unused:
            raise Failure("Roles grant what their functions do not use:\n" + "\n".join(unused))
    print(f"  {sum(map(len, grants.values()))} grants of {len(grants)} roles, each used")


def granted(function: str) -> Iterator[tuple[str, str]]:
    """Each action with each of its resources that the function's role allows."""
    iam = boto3.client("iam")
    role = boto3.client("lambda").get_function_configuration(FunctionName=function)["Role"].rpartition("/")[2]
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        if isinstance(document, str):
            document = json.loads(urllib.parse.unquote(document))
        for statement in listed(document["Statement"]):
            for action in listed(statement["Action"]):
                for resource in listed(statement["Resource"]):
                    yield action, resource


def listed(value):
    return value if isinstance(value, list) else [value]


def never_used(function: str, grants: list[tuple[str, str]], seen: list[Seen]) -> Iterator[str]:
    used = [(action, said) for by, *call, said in seen if by == function for action in actions(*call, said)]
    for action, resource in sorted(set(grants)):
        if action in OF_OTHERS or any(queue in resource for queue in FAILURES):
            continue
        if not any(action == made and is_about(action, resource, said) for made, said in used):
            yield f"{action} on {resource}"


def actions(service: str, operation: str, said: str) -> Iterator[str]:
    """The actions of IAM that a call takes."""
    if operation == "TransactWriteItems":
        for word in said.split():
            if word.startswith(TRANSACTED):
                yield f"dynamodb:{TRANSACTION[word.removeprefix(TRANSACTED)]}"
    else:
        yield f"{PREFIXES.get(service, service)}:{operation}"


def is_about(action: str, resource: str, said: str) -> bool:
    """Whether a call that says this may be of the resource, as far as the proxy keeps it."""
    words = said.split()
    match action.partition(":")[0]:
        case "dynamodb":
            table, _, index = resource.rpartition(":table/")[2].partition("/index/")
            return table in words and (not index or index in words)
        case "sqs":
            queue = resource.rpartition(":")[2]
            return any(word.endswith(f"/{queue}") for word in words)
    return True
