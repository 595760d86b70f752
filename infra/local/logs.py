"""Searches what the functions have logged for what must never be logged."""

import json
import re

import boto3

from report import Failure, step

# Stands in every field that callers, agents and receivers can send: tests/tests/secrets.rs.
MARKER = "tellnobody7"
# What the tests' keys, tokens, secrets, callback headers, callback URLs and messages look like.
SECRETS = {
    "an API key": r"relay_[A-Za-z0-9_-]{20,}",
    "a token": r"eyJ[A-Za-z0-9_-]+\.eyJ",
    "a signing secret": r"whsec_",
    "a callback header": r"of-the-test",
    "the path of a callback URL": r"signature=0a",
    "a message": r"hello relay",
    "what a caller, agent or receiver has sent": MARKER,
}


def check(stack: str) -> None:
    """Fails when a log of the stack holds a secret, or when a function's records lack what they need."""
    with step("Searching the functions' logs for secrets"):
        records, invocations = 0, 0
        logs = boto3.client("logs")
        for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=f"/aws/lambda/{stack}-"):
            for group in page["logGroups"]:
                for line in lines(logs, group["logGroupName"]):
                    records += 1
                    invocations += is_record(line)
                    for what, pattern in SECRETS.items():
                        if re.search(pattern, line):
                            raise Failure(f"{group['logGroupName']} holds {what}: {line[:500]}")
        if not invocations:
            raise Failure("The functions have logged no invocation.")
    print(f"  {records} lines, {invocations} of them an invocation's record, and no secret")


# The most that an answer holds. The engine gives the oldest ones, and no token for those behind them.
PAGE = 10_000


def lines(logs, group: str):
    """All lines of a group, oldest first."""
    since = 0
    while True:
        events = logs.filter_log_events(logGroupName=group, startTime=since, limit=PAGE)["events"]
        if len(events) < PAGE:
            yield from (event["message"] for event in events)
            return
        # Those of the last millisecond may go on.
        last = events[-1]["timestamp"]
        last += last == since
        yield from (event["message"] for event in events if event["timestamp"] < last)
        since = last


def is_record(line: str) -> bool:
    """Whether it is an invocation's record: a metric with the id of its request."""
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "_aws" in record and "RequestId" in record
