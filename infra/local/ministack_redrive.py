"""RedriveExecution, which ministack's Step Functions lack.

A redriven execution gets a new record, so that what still runs of an aborted one, which ministack does not stop, goes on
with the old one and changes nothing of it. Besides what ministack keeps in a record, this keeps there:

    variables      those with which each state was last entered, by its name, which is unique in its machine
    redriveCount   once it has been redriven,
    redriveDate    as AWS has them
    redriveTokens  when each client token was first used
    goto           until an attempt is at the state where it continues: that state's input and name, and the variables

Unlike AWS's, it runs a Parallel or Map state again as a whole, with the branches and items that had succeeded, and takes
the machine's definition as it is now. A state that is run again is also entered again in the history.
"""

import contextvars
import copy
import json
import re
import threading
import time

from ministack.core.responses import error_response_json, json_response, now_iso
from ministack.services import eventbridge, stepfunctions

EXECUTION_ARN = re.compile(r"arn:aws[\w-]*:states:[\w-]+:\d{12}:execution:[^:]+:[^:]+")
REDRIVES = 1000
EVENTS = 24_999
PERIOD = 14 * 24 * 60 * 60
TOKENS, TOKEN_PERIOD = 10, 15 * 60


def redrive(request: dict) -> tuple:
    arn, token = str(request.get("executionArn")), request.get("clientToken")
    if not EXECUTION_ARN.fullmatch(arn):
        return error_response_json("InvalidArn", f"Invalid Arn: '{arn}'")
    ended = stepfunctions._executions.get(arn)
    if ended is None:
        return error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
    tokens = ended.get("redriveTokens", {})
    if token and token in tokens and age(tokens[token]) < TOKEN_PERIOD:
        return json_response({"redriveDate": tokens[token]})
    state = redrive_state(ended)
    if state["redriveStatus"] != "REDRIVABLE":
        reason = state["redriveStatusReason"] or "Execution can be redriven by its Map Run only"
        return error_response_json("ExecutionNotRedrivable", reason)

    date, count = now_iso(), state["redriveCount"] + 1
    execution = ended | {
        "status": "RUNNING", "stopDate": None, "output": None, "error": None, "cause": None,
        "redriveCount": count, "redriveDate": date,
        "redriveTokens": dict([*tokens.items(), (token, date)][-TOKENS:]),
        "events": [*ended["events"]],
    }  # fmt: skip
    execution.pop("goto", None)
    stepfunctions._add_event(execution, "ExecutionRedriven", {"executionRedrivenEventDetails": {"redriveCount": count}})
    # If no state has been left, it continues in the first one anyway, which may be of a kind that cannot be left.
    if any(event["type"].endswith("StateExited") for event in ended["events"]):
        last = [event for event in ended["events"] if "stateEnteredEventDetails" in event][-1]["stateEnteredEventDetails"]
        execution["goto"] = json.loads(last["input"]), last["name"], ended["variables"].get(last["name"], {})
    stepfunctions._executions[arn] = execution
    stepfunctions._emit_execution_status_event(execution)
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(stepfunctions._run_execution, arn), daemon=True).start()
    return json_response({"redriveDate": date})


def age(date: str) -> float:
    return time.time() - stepfunctions._iso_to_epoch_ms(date) / 1000


def redrive_state(execution: dict) -> dict:
    """What AWS says of an execution's redrives."""
    reason = obstacle(execution)
    of_map_run = "_BY_MAP_RUN" if "mapRunArn" in execution else ""
    return {
        "redriveCount": execution.get("redriveCount", 0),
        "redriveDate": execution.get("redriveDate"),
        "redriveStatus": "NOT_REDRIVABLE" if reason else f"REDRIVABLE{of_map_run}",
        "redriveStatusReason": reason,
    }


def obstacle(execution: dict) -> str | None:
    """Why it cannot be redriven, in AWS's words where they are known."""
    machine = stepfunctions._state_machines.get(execution["stateMachineArn"])
    if execution["status"] in ("RUNNING", "SUCCEEDED"):
        return f"Execution is {execution['status']} and cannot be redriven"
    if "mapRunArn" in execution:
        return None
    if machine is None:
        return "State machine is in DELETING status"
    if machine["type"] == "EXPRESS" or execution.get("sync"):
        return "Execution is of an EXPRESS workflow and cannot be redriven"
    if age(execution["stopDate"]) > PERIOD:
        return "Execution redrivable period exceeded"
    if len(execution["events"]) >= EVENTS:
        return "Execution history event limit exceeded"
    if execution.get("redriveCount", 0) >= REDRIVES:
        return "Execution redrive limit exceeded"
    return None


def answer_redrives(handle_request) -> None:
    async def handle(method, path, headers, body, query_params):
        if headers.get("x-amz-target") == "AWSStepFunctions.RedriveExecution":
            return stepfunctions._finalize_response(redrive(json.loads(body)))
        return await handle_request(method, path, headers, body, query_params)

    stepfunctions.handle_request = handle


def describe_redrives(describe_execution) -> None:
    def describe(request):
        status, headers, body = describe_execution(request)
        if status != 200:
            return status, headers, body
        state = redrive_state(stepfunctions._executions[request["executionArn"]])
        return json_response(json.loads(body) | {name: value for name, value in state.items() if value is not None})

    stepfunctions._describe_execution = describe


# The execution of which an event is being sent: it may have a newer record by now.
SENT: contextvars.ContextVar[dict] = contextvars.ContextVar("sent")


def tell_of_redrives(emit_event, put_events) -> None:
    """ministack's own events say that there never was one."""

    def emit(execution):
        SENT.set(execution)
        emit_event(execution)

    def put(request, allow_aws_source=False):
        if allow_aws_source:  # It comes from above.
            state = redrive_state(SENT.get())
            state["redriveDate"] = stepfunctions._iso_to_epoch_ms(state["redriveDate"])
            (event,) = request["Entries"]
            event["Detail"] = json.dumps(json.loads(event["Detail"]) | state)
        return put_events(request, allow_aws_source)

    stepfunctions._emit_execution_status_event = emit
    eventbridge._put_events = put


def follow(execute):
    """Wraps what executes a state. The first one that an attempt comes to is the machine's first, wherever it is to
    continue; if that is elsewhere, the state is not executed but left for there."""

    def run(state, state_input, *others):
        context = others[-1]
        attempt = context["Execution"]
        execution = stepfunctions._executions.get(attempt.get("Id"))
        if execution is None:  # It is only a test of the state.
            return execute(state, state_input, *others)
        if "RedriveCount" not in attempt:
            attempt["RedriveCount"] = execution.get("redriveCount", 0)
            if attempt["RedriveCount"]:
                attempt["RedriveTime"] = execution["redriveDate"]
            if "goto" in execution:
                state_input, name, variables = execution["goto"]
                context["variables"] = copy.deepcopy(variables)
                return state_input, name
        execution.setdefault("variables", {})[context["State"]["Name"]] = copy.deepcopy(context.get("variables", {}))
        return execute(state, state_input, *others)

    return run


def hide_the_way(add_event) -> None:
    """Keeps out of the history that an attempt enters and leaves the first state to continue elsewhere."""

    def add(execution, kind, details=None):
        if "goto" not in execution or not kind.endswith(("StateEntered", "StateExited")):
            return add_event(execution, kind, details)
        if kind.endswith("StateExited"):
            del execution["goto"]
        return None

    stepfunctions._add_event = add


def fail_only_once(fail_execution) -> None:
    """An aborted execution's task may still fail, and with it would the execution."""

    def fail(execution, error, cause):
        if execution["status"] == "RUNNING":
            fail_execution(execution, error, cause)

    stepfunctions._fail_execution = fail


def add_redrive() -> None:
    answer_redrives(stepfunctions.handle_request)
    describe_redrives(stepfunctions._describe_execution)
    tell_of_redrives(stepfunctions._emit_execution_status_event, eventbridge._put_events)
    for name in ("pass", "task", "choice", "wait", "parallel", "map"):
        setattr(stepfunctions, f"_execute_{name}", follow(getattr(stepfunctions, f"_execute_{name}")))
    stepfunctions._fail_state_error = follow(stepfunctions._fail_state_error)
    hide_the_way(stepfunctions._add_event)
    fail_only_once(stepfunctions._fail_execution)
