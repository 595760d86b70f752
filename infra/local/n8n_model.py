"""A model for n8n's AI Agent, which does what its prompt says: an OpenAI-compatible server without chance.

The prompt is a JSON list of the turns to take. Each turn is a list of tool calls, `{"tool": …, "arguments": …}`.
An argument `"$last.execution_id"` is the field of that name in what the last tool gave. After the last turn
the model quotes all that the tools gave, as a JSON list of texts.
"""

import http.server
import json
import re
import threading

# What a tool's answer may be before it is refused; the agents of the tests say little.
LARGEST = 1_000_000
FIELD = re.compile(r'\\*"%s\\*"\s*:\s*\\*"([^"\\]+)')


def serve() -> http.server.ThreadingHTTPServer:
    """Serves until it is shut down, on a port of its own."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def message(asked: dict) -> dict:
    """What the model says next in a conversation."""
    turns = script(asked["messages"])
    given = results(asked["messages"])
    done = 0
    for number, turn in enumerate(turns):
        if done >= len(given):
            offered = [it["function"]["name"] for it in asked.get("tools", [])]
            calls = [call(tool, f"call_{number}_{place}", offered, given) for place, tool in enumerate(turn)]
            return {"role": "assistant", "content": None, "tool_calls": calls}
        done += len(turn)
    return {"role": "assistant", "content": json.dumps(given)}


def script(messages: list[dict]) -> list[list[dict]]:
    prompt = next(it["content"] for it in messages if it["role"] == "user")
    return json.loads(text(prompt))


def results(messages: list[dict]) -> list[str]:
    return [text(it["content"]) for it in messages if it["role"] == "tool"]


def text(content: str | list[dict]) -> str:
    """A content is a text, or a list of parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def call(tool: dict, name: str, offered: list[str], given: list[str]) -> dict:
    # Some versions of n8n put the node's name before the tool's.
    wanted = next((it for it in offered if it.endswith(tool["tool"])), tool["tool"])
    arguments = {key: filled(value, given) for key, value in tool["arguments"].items()}
    return {"id": name, "type": "function", "function": {"name": wanted, "arguments": json.dumps(arguments)}}


def filled(value: object, given: list[str]) -> object:
    if not isinstance(value, str) or not value.startswith("$last."):
        return value
    # The field may lie in JSON that is a text in JSON.
    found = re.search(FIELD.pattern % re.escape(value.removeprefix("$last.")), given[-1] if given else "")
    return found.group(1) if found else ""


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        if length > LARGEST:
            self.close_connection = True
            return self.answer(413, {"error": {"message": "too long"}})
        asked = json.loads(self.rfile.read(length))
        said = message(asked)
        ends = "tool_calls" if said.get("tool_calls") else "stop"
        head = {"id": "chatcmpl-1", "created": 0, "model": "scripted"}
        if asked.get("stream"):
            for number, tool in enumerate(said.get("tool_calls", [])):
                tool["index"] = number
            chunk = head | {"object": "chat.completion.chunk"}
            chunk["choices"] = [{"index": 0, "delta": said, "finish_reason": ends}]
            body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
            return self.send(200, "text/event-stream", body)
        choices = [{"index": 0, "message": said, "finish_reason": ends}]
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.answer(200, head | {"object": "chat.completion", "choices": choices, "usage": usage})

    def answer(self, status: int, body: dict) -> None:
        self.send(status, "application/json", json.dumps(body).encode())

    def send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing of each request."""
