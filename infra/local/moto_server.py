"""Runs moto's server, one DynamoDB call at a time: moto is not safe for threads.

    moto_server.py PORT

Without the lock it fails calls that come side by side ("dictionary changed size during iteration").

For each item of a transaction moto copies its whole table, to undo what is cancelled, and for each query it sorts all items:
seconds for each, and gigabytes, once thousands of items are there. Here it copies what the transaction can change, and sorts
what a query finds.
"""

import collections
import copy
import inspect
import sys
import threading

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler
from moto.server import main

ONE_AT_A_TIME = threading.Lock()
# The hash keys of the transaction that is under way.
touched: set[DynamoType] = set()


def add_lock(call_action) -> None:
    def call_alone(self):
        with ONE_AT_A_TIME:
            return call_action(self)

    DynamoHandler.call_action = call_alone


def copy_less(transact) -> None:
    def transact_write_items(self, transact_items):
        touched.clear()
        for item in transact_items:
            for write in item.values():
                table = self.get_table(write["TableName"])
                touched.add(DynamoType((write.get("Item") or write["Key"])[table.hash_key_attr]))
        return transact(self, transact_items)

    def copy_touched(table, memo):
        copied = copy.copy(table)
        copied.items = collections.defaultdict(dict, table.items)
        for key in touched & table.items.keys():
            copied.items[key] = copy.deepcopy(table.items[key], memo)
        return copied

    DynamoDBBackend.transact_write_items = transact_write_items
    Table.__deepcopy__ = copy_touched


def sort_less(query, all_items) -> None:
    parameters = inspect.signature(query)
    asked: list[dict] = []

    def ask(*arguments, **named):
        asked.append(parameters.bind(*arguments, **named).arguments)
        try:
            return query(*arguments, **named)
        finally:
            asked.pop()

    def found(table):
        if not asked:
            return all_items(table)
        # What it finds by an index, `query` sorts itself.
        by_index = asked[-1].get("index_name")
        groups = table.items.values() if by_index else filter(None, [table.items.get(asked[-1]["hash_key"])])
        if not table.range_key_attr:
            return list(groups)
        items = [item for group in groups for item in group.values()]
        return items if by_index else sorted(items, key=lambda item: item.range_key)

    Table.query, Table.all_items = ask, found


if __name__ == "__main__":
    add_lock(DynamoHandler.call_action)
    copy_less(DynamoDBBackend.transact_write_items)
    sort_less(Table.query, Table.all_items)
    main(["--host", "127.0.0.1", "--port", sys.argv[1]])
