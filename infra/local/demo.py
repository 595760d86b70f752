"""Runs two agents through the HTTP API and shows all that a caller gets to see."""

import http.server
import json
import threading
import time
import urllib.error
import urllib.request

from report import Failure

LIMIT_SECONDS = 60
QUESTIONS = {
    "echo": "Hello from the demo.",
    "assistant": "How many words has this question?",
}
ENDS = {"completed", "failed", "timeout", "cancelled"}


class Receiver(http.server.ThreadingHTTPServer):
    """Takes the callbacks, as a workflow would that waits for its agent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Callback)
        self.received: dict[str, tuple[str, dict]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, agent: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/callbacks/{agent}"


class Callback(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        signed = all(self.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature"))
        self.send_response(204 if signed else 400)
        self.end_headers()
        if signed:
            self.server.received[body["data"]["execution_id"]] = (self.headers["webhook-id"], body)

    def log_message(self, *_):
        """The demo prints what it received itself."""


def run(environment: dict[str, str]) -> None:
    receiver = Receiver()
    started = time.monotonic()
    deadline = started + LIMIT_SECONDS

    def say(agent: str, what: str) -> None:
        print(f"{time.monotonic() - started:5.1f} s  {agent:<10} {what}", flush=True)

    def call(method: str, path: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(
            environment["RELAY_URL"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"x-api-key": environment["RELAY_API_KEY"], "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failure(f"{method} {path} was answered with {error.code}: {error.read().decode()}") from None
        except OSError as error:
            raise Failure(f"{method} {path} was not answered: {error}") from None

    runs = {}
    for agent, question in QUESTIONS.items():
        accepted = call(
            "POST",
            "/v1/executions",
            {"agent_name": agent, "input_message": question, "callback_url": receiver.url(agent)},
        )
        runs[accepted["execution_id"]] = agent
        say(agent, f"started    {accepted['execution_id']}")

    shown, called_back = {}, set()
    while called_back != runs.keys() or any(shown.get(run) not in ENDS for run in runs):
        if time.monotonic() > deadline:
            missing = ", ".join(
                f"{agent} ({shown.get(run)}, {'with' if run in called_back else 'without'} callback)"
                for run, agent in runs.items()
            )
            raise Failure(f"Not everything came within {LIMIT_SECONDS} s: {missing}.")
        for run, agent in runs.items():
            if shown.get(run) not in ENDS:
                seen = call("GET", f"/v1/executions/{run}")
                if seen["status"] != shown.get(run):
                    progress = "" if seen["progress"] is None else f"{seen['progress']} %"
                    say(agent, f"{seen['status']:<10} {progress}")
                    shown[run] = seen["status"]
                if seen["status"] in ENDS:
                    show_results(say, agent, call("GET", f"/v1/executions/{run}/results"))
            if run in receiver.received and run not in called_back:
                called_back.add(run)
                webhook_id, body = receiver.received[run]
                say(agent, f"callback   {body['type']}, webhook-id {webhook_id}")
        time.sleep(0.1)

    unwelcome = [agent for run, agent in runs.items() if shown[run] != "completed"]
    if unwelcome:
        raise Failure(f"Not completed: {', '.join(unwelcome)}.")
    print("Both agents completed, and both callbacks came.")
    # One that fails, and one that asks.
    for agent in ("fail", "approval"):
        call("POST", "/v1/executions", {"agent_name": agent, "input_message": f"Show me {agent}."})
    print("Two more run, of which one fails and one asks you something. `make console` shows them in a browser, at")
    print(f"  {environment['RELAY_URL']}/console")


def show_results(say, agent: str, results: dict) -> None:
    if "error" in results:
        say(agent, f"error      {results['error']}")
        return
    say(agent, f"result     {json.dumps(results['result'])}")
    say(agent, f"           tools {', '.join(results['tools_used'])}; tokens {json.dumps(results['tokens_used'])}")
