"""The engine, whose DynamoDB says of each write how many units it has consumed, as AWS does when it is asked to."""

import json

import ministack.services.dynamodb as dynamodb

WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}


def say_what_is_consumed(handle_request) -> None:
    async def handle(method, path, headers, body, query_params):
        if headers.get("x-amz-target", "").rpartition(".")[2] in WRITES:
            # By now the signature has been checked.
            body = json.dumps(json.loads(body) | {"ReturnConsumedCapacity": "INDEXES"}).encode()
        return await handle_request(method, path, headers, body, query_params)

    dynamodb.handle_request = handle


if __name__ == "__main__":
    say_what_is_consumed(dynamodb.handle_request)
    import ministack.app  # What is served is looked up when this is imported.

    ministack.app.main()
