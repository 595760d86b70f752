"""Runs ministack, and has its IAM read what a BatchGetItem asks for.

It takes a call's condition keys from the top of its body. A batch names there only tables, and in each what it asks
for, so that on its own it is taken to ask for everything.
"""

import json

from ministack import app
from ministack.core import iam_actions


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


if __name__ == "__main__":
    read_batches(iam_actions.dynamodb_service_context)
    app.main()
