"""Runs the engine and, before it, a proxy that can make the functions' AWS calls fail.

    faults.py PORT ENGINE

The proxy listens on PORT of loopback and passes on to ENGINE, a URL. It fails nothing until it is told to,
by /_microburst/rules (https://pypi.org/project/microburst/). Only what is given the proxy's URL as
AWS_ENDPOINT_URL talks through it: the functions do, the tests and `sam` do not.

Two effects are added to its own, by which the process that makes a call is killed: the error KilledBefore
kills it instead of passing the call on, the response header KilledAfter when the engine has answered. And
/_microburst/seen lists the calls that each function has made so far; /_microburst/units, from when it is first
asked for, the write units that DynamoDB says each of their writes has consumed.
"""

import contextvars
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import microburst.cli
import microburst.core.pipeline
import microburst.forward
import microburst.protocols
import microburst.rules
from aiohttp import web
from microburst.core.pipeline import Microburst

MINISTACK = pathlib.Path(__file__).with_name("ministack_server.py")
KILLED_BEFORE, KILLED_AFTER = "KilledBefore", "KilledAfter"


def keep_host(headers_sent_on) -> None:
    """Passes the `Host` on as it came: the functions have signed it, and the engine checks that."""

    def with_host(self, request):
        return headers_sent_on(self, request) | {"host": request.headers["Host"]}

    microburst.forward.Upstream._outbound_headers = with_host


def kill_at_the_other_end(request: web.Request, engine: int) -> None:
    """Kills the process that made the request, if it is a function of this engine."""
    ends = [f"0100007F:{request.transport.get_extra_info(end)[1]:04X}" for end in ("peername", "sockname")]
    sockets = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()]
    inodes = [f"socket:[{socket[9]}]" for socket in sockets if socket[1:3] == ends]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("exe").readlink().name != "bootstrap" or parent(process) != engine:
                continue
            if any(str(file.readlink()) in inodes for file in process.glob("fd/*")):
                os.kill(int(process.name), signal.SIGKILL)
                return
        except OSError:
            # It has ended meanwhile, or is none of ours.
            continue
    raise LookupError("no function of this engine is at the other end")


def parent(process: pathlib.Path) -> int:
    # The name, in parentheses, may hold anything; the parent is the second field after it.
    return int(process.joinpath("stat").read_text().rpartition(")")[2].split()[1])


# The call that is being made, for whoever sees only its answer.
CALL: contextvars.ContextVar = contextvars.ContextVar("call")


def meter(decide, handle_control, stream_to_client):
    """Keeps what each write of a function has consumed. Returns the stream to use."""
    units: list | None = None

    def decide_and_note(self, context):
        function = re.search(r"app/([a-z]+)", context.headers.get("User-Agent", ""))
        is_metered = units is not None and function and context.service == "dynamodb"
        body = json.dumps(microburst.rules._body_value(context)) if is_metered else ""
        CALL.set((function[1], context.operation, body) if is_metered else None)
        return decide(self, context)

    async def control(self, request):
        nonlocal units
        if not request.path.endswith("/units"):
            return await handle_control(self, request)
        units = [] if units is None else units
        return web.json_response(units)

    async def tapped(call, chunks):
        answer = b""
        async for chunk in chunks:
            answer += chunk
            yield chunk
        consumed = json.loads(answer or b"{}").get("ConsumedCapacity")
        if consumed and units is not None:
            units.append([*call, consumed if isinstance(consumed, list) else [consumed]])

    async def stream(request, status, headers, fault, chunks):
        call = CALL.get(None)
        if call and status == 200:
            chunks = tapped(call, chunks)
        return await stream_to_client(request, status, headers, fault, chunks)

    microburst.rules.RuleEngine.decide = decide_and_note
    Microburst.handle_control = control
    return stream


def add_kills(engine: int, apply_decision, stream_to_client) -> None:
    """Adds the two effects that kill."""

    async def kill_before(request, context, decision):
        if decision.error is None or decision.error.code != KILLED_BEFORE:
            return await apply_decision(request, context, decision)
        kill_at_the_other_end(request, engine)
        return web.Response(status=500)  # Nobody is left to read it.

    async def kill_after(request, status, headers, fault, chunks):
        if fault is None or KILLED_AFTER not in fault.set_headers:
            return await stream_to_client(request, status, headers, fault, chunks)
        async for _ in chunks:
            pass
        kill_at_the_other_end(request, engine)
        return web.Response(status=500)  # Nobody is left to read it.

    microburst.core.pipeline.apply_decision = kill_before
    microburst.forward._stream_to_client = kill_after


def list_what_is_seen(decide, handle_control) -> None:
    """Keeps which calls each function makes: the service, the operation, and the words of the code in it."""
    seen = set()

    def decide_and_keep(self, context):
        function = re.search(r"app/([a-z]+)", context.headers.get("User-Agent", ""))
        if function:
            said = " ".join(sorted(words(microburst.rules._body_value(context))))
            seen.add((function[1], context.service, context.operation, said))
        return decide(self, context)

    async def control(self, request):
        if request.path.endswith("/seen"):
            return web.json_response(sorted(seen, key=str))
        return await handle_control(self, request)

    microburst.rules.RuleEngine.decide = decide_and_keep
    Microburst.handle_control = control


def words(body) -> set[str]:
    """What a body says that is not data: expressions, tables, queues, kinds of parts and of writes in a transaction,
    and a message's fields."""
    found = set()
    for name, value in body.items() if isinstance(body, dict) else enumerate(body if isinstance(body, list) else ()):
        if name in ("part", ":prefix") and isinstance(value, dict):
            found.add("part=" + re.match("[a-z]*", str(value.get("S")))[0])
        elif name == "MessageBody":
            found |= set(json.loads(value))
        elif name in WORDS:
            found.add(str(value))
        else:
            found |= words(value)
            if name == "RequestItems":
                found |= set(value)
            elif name == "TransactItems" and isinstance(value, list):
                found |= {f"transacted={kind}" for item in value for kind in item}
    return found


WORDS = {
    "TableName", "IndexName", "QueueUrl", "KeyConditionExpression", "FilterExpression", "UpdateExpression",
    "ConditionExpression",
}  # fmt: skip


def name_codes_as_sqs_does() -> None:
    """Gives SQS's codes no namespace: of those used here, none has one, and by its code an SDK knows a throttle."""
    microburst.protocols.query_error_namespace = lambda _service: None


def end_with(engine: subprocess.Popen) -> None:
    engine.wait()
    os._exit(1)


def main() -> None:
    port, endpoint = sys.argv[1:]
    keep_host(microburst.forward.Upstream._outbound_headers)
    engine = subprocess.Popen([sys.executable, MINISTACK], stdin=subprocess.DEVNULL)
    stream = meter(
        microburst.rules.RuleEngine.decide, Microburst.handle_control, microburst.forward._stream_to_client
    )
    add_kills(engine.pid, microburst.core.pipeline.apply_decision, stream)
    name_codes_as_sqs_does()
    list_what_is_seen(microburst.rules.RuleEngine.decide, Microburst.handle_control)
    threading.Thread(target=end_with, args=(engine,), daemon=True).start()
    # When we end, in whichever way, the keeper ends the engine.
    sys.exit(microburst.cli.main(["--host", "127.0.0.1", "--port", port, "--upstream", endpoint]))


if __name__ == "__main__":
    main()
