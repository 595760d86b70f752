"""Runs ministack with four things put right: what its IAM reads of a BatchGetItem, what its DynamoDB says that a write
consumes, the task tokens of the branches of its Parallel states, and how long an expression may take. And with
RedriveExecution, of ministack_redrive.

Its IAM takes a call's condition keys from the top of its body. A batch names there only tables, and in each what it
asks for, so that on its own it is taken to ask for everything.
"""

import copy
import json

from ministack.core import iam_actions
from ministack.services import dynamodb, stepfunctions

from ministack_redrive import add_redrive

WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}
EXPRESSION_MS = 30_000


def read_batches(context_of) -> None:
    def context(body: bytes) -> dict:
        try:
            tables = json.loads(body or b"{}")["RequestItems"].values()
            batches = [context_of(json.dumps(table).encode()) for table in tables if "Keys" in table]
        except (AttributeError, KeyError, TypeError, ValueError):
            batches = []
        if not batches:
            return context_of(body)
        attributes = [name for batch in batches for name in batch.get("dynamodb:Attributes", ())]
        everything = [batch for batch in batches if "dynamodb:Attributes" not in batch]
        selected = {"dynamodb:Select": "ALL_ATTRIBUTES" if everything else "SPECIFIC_ATTRIBUTES"}
        return selected | ({"dynamodb:Attributes": attributes} if attributes else {})

    iam_actions.dynamodb_service_context = context


def say_what_is_consumed(handle_request) -> None:
    """As AWS does when it is asked to, which the functions do not."""

    async def handle(method, path, headers, body, query_params):
        if headers.get("x-amz-target", "").rpartition(".")[2] in WRITES:
            # By now the signature has been checked.
            body = json.dumps(json.loads(body) | {"ReturnConsumedCapacity": "INDEXES"}).encode()
        return await handle_request(method, path, headers, body, query_params)

    dynamodb.handle_request = handle


def keep_branches_apart(run_branch) -> None:
    """Branches share one context object, and with it the token of whichever entered a task last: two that ask at once
    would ask with the same token, and only one of them would ever get an answer."""

    def run(states, start_at, input_data, execution, context):
        return run_branch(states, start_at, input_data, execution, copy.deepcopy(context))

    stepfunctions._run_sub_machine = run


def wait_for_expressions(compile_expression) -> None:
    """Expressions end after a second of the clock, which others may take up on a busy machine: then a run fails."""

    def compiled(expression, **options):
        return compile_expression(expression, **options | {"timeout": EXPRESSION_MS})

    stepfunctions.jsonata.Jsonata.jsonata = compiled


if __name__ == "__main__":
    read_batches(iam_actions.dynamodb_service_context)
    say_what_is_consumed(dynamodb.handle_request)
    keep_branches_apart(stepfunctions._run_sub_machine)
    wait_for_expressions(stepfunctions.jsonata.Jsonata.jsonata)
    add_redrive()
    from ministack import app  # It looks up what it serves when it is imported.

    app.main()
