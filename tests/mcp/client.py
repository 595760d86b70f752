"""Drives a deployed stack with the official Python client: without tasks, with tasks, and as two users.

`make conformance` runs it.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx2
from mcp import Client, MCPError
from mcp.client import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp_types import INVALID_PARAMS, CallToolResult, EmptyResult, Request, Result

URL, KEY, OTHER_KEY = (os.environ[name] for name in ("MCP_URL", "MCP_KEY", "MCP_OTHER_KEY"))
REVISION = "2026-07-28"
PATIENCE_SECONDS = 60
ENDS = {"completed", "failed", "timeout", "cancelled"}


class CreatedTask(Result):
    """What a call is answered with that has become a task."""

    result_type: Literal["task"]
    task_id: str
    poll_interval_ms: int | None = None


class Task(Result):
    """A task as it stands."""

    result_type: Literal["complete"]
    task_id: str
    status: str
    result: dict[str, Any] | None = None


class TaskRequest(Request[dict[str, Any], str]):
    name_param = "taskId"


class Tasks(ClientExtension):
    """The tasks extension: follows a task to its end, as if the call had taken that long."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self):
        self.followed: list[str] = []

    def claims(self):
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=self.follow)]

    async def follow(self, created: CreatedTask, context: ClaimContext) -> CallToolResult:
        self.followed.append(created.task_id)
        task = await ended(context.session, created.task_id)
        assert task.status == "completed", task
        return CallToolResult.model_validate(task.result)


async def task_now(session, task_id: str) -> Task:
    return await session.send_request(TaskRequest(method="tasks/get", params={"taskId": task_id}), Task)


async def cancel(session, task_id: str) -> None:
    await session.send_request(TaskRequest(method="tasks/cancel", params={"taskId": task_id}), EmptyResult)


async def ended(session, task_id: str) -> Task:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (task := await task_now(session, task_id)).status not in ENDS:
        assert time.monotonic() < deadline, task
        await asyncio.sleep(0.2)
    return task


@contextlib.asynccontextmanager
async def connect(key: str, mode: str, *extensions: ClientExtension) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as http:
        async with Client(streamable_http_client(URL, http_client=http), mode=mode, extensions=extensions) as client:
            yield client


def echo(message: str) -> dict[str, Any]:
    return {"agent_name": "echo", "input_message": message, "parameters": {"wait_seconds": 0}}


async def read(client: Client, uri: str) -> dict[str, Any]:
    return json.loads((await client.read_resource(uri)).contents[0].text)


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return result.structured_content


@contextlib.contextmanager
def refused():
    """It must be refused as something that is not there."""
    try:
        yield
    except MCPError as error:
        assert error.code == INVALID_PARAMS, error
    else:
        raise AssertionError("it was not refused")


async def by_tools(client: Client) -> None:
    names = {tool.name for tool in (await client.list_tools()).tools}
    assert names >= {"start_agent", "monitor_agent", "get_agent_results", "list_available_agents"}, names
    agents = (await call(client, "list_available_agents"))["agents"]
    assert agents == (await read(client, "agents://available"))["agents"]
    assert "echo" in [agent["name"] for agent in agents]

    execution_id = (await call(client, "start_agent", **echo("By tools.")))["execution_id"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (monitor := await call(client, "monitor_agent", execution_id=execution_id))["status"] not in ENDS:
        assert time.monotonic() < deadline, monitor
        await asyncio.sleep(0.2)
    assert monitor["status"] == "completed", monitor
    results = await call(client, "get_agent_results", execution_id=execution_id)
    assert results["result"] == "By tools.", results
    assert results == await read(client, f"agents://executions/{execution_id}/result")


async def by_task(client: Client, tasks: Tasks) -> None:
    results = await call(client, "start_agent", **echo("As a task."))
    assert results["result"] == "As a task.", results
    assert tasks.followed == [results["execution_id"]], tasks.followed

    failed = await client.call_tool("start_agent", {"agent_name": "fail", "input_message": "Fail."})
    assert failed.is_error and len(tasks.followed) == 2, failed


async def apart(client: Client, other: Client) -> None:
    slow = {"agent_name": "slow", "input_message": "Mine."}
    created = await client.session.call_tool("start_agent", slow, allow_claimed=True)
    task_id = created.task_id

    with refused():
        await task_now(other.session, task_id)
    with refused():
        await cancel(other.session, task_id)
    with refused():
        await other.read_resource(f"agents://executions/{task_id}")
    for name in ("monitor_agent", "get_agent_results", "stop_agent"):
        assert (await other.call_tool(name, {"execution_id": task_id})).is_error, name
    mine, others = [await call(each, "list_executions") for each in (client, other)]
    assert task_id in [execution["execution_id"] for execution in mine["executions"]]
    assert task_id not in [execution["execution_id"] for execution in others["executions"]]

    # Nothing of that has ended it; its owner may.
    assert (await task_now(client.session, task_id)).status == "working"
    await cancel(client.session, task_id)
    assert (await ended(client.session, task_id)).status == "cancelled"


async def main() -> None:
    tasks = Tasks()
    for mode in ("legacy", REVISION):
        async with connect(KEY, mode) as client:
            await by_tools(client)
            print(f"  passes  without tasks, by the tools, at {client.protocol_version}")
    async with connect(KEY, REVISION, tasks) as client, connect(OTHER_KEY, REVISION, Tasks()) as other:
        await by_task(client, tasks)
        print("  passes  with tasks, to the end")
        await apart(client, other)
        print("  passes  two users, apart")


if __name__ == "__main__":
    asyncio.run(main())
