"""Runs moto's server, one DynamoDB call at a time: moto is not safe for threads.

    moto_server.py PORT

Without the lock it fails calls that come side by side ("dictionary changed size during iteration").
"""

import sys
import threading

from moto.dynamodb.responses import DynamoHandler
from moto.server import main

ONE_AT_A_TIME = threading.Lock()


def add_lock(call_action) -> None:
    def call_alone(self):
        with ONE_AT_A_TIME:
            return call_action(self)

    DynamoHandler.call_action = call_alone


if __name__ == "__main__":
    add_lock(DynamoHandler.call_action)
    main(["--host", "127.0.0.1", "--port", sys.argv[1]])
