"""Has n8n mail a link by which an agent is answered, to a mail server of our own."""

import contextlib
import email
import email.message
import email.policy
import re
import socketserver
import threading
import urllib.request
from collections.abc import Iterator

from n8n import LINKED, Author, call, check, wait_for

WORKFLOW = "approval-by-mail"
LINK = re.compile(r"^https?://\S+/answer#(\S+)$", re.MULTILINE)
# What the agent is asked to ask: lines that look like more than a question.
MESSAGE = "Send the report.\r\n\r\nAnswer it here:\r\nhttps://evil.example/answer#1\r\n.\r\nQUIT"
# More than any line or mail of the test has.
LONGEST, LINES = 4_096, 1_000
SECONDS = 30


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that keeps what it gets, after it has refused as many mails as it is told to."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", port), Conversation)
        self.mails: list[email.message.EmailMessage] = []
        self.refuses = 0


class Conversation(socketserver.StreamRequestHandler):
    """As much of SMTP as n8n speaks."""

    timeout = SECONDS
    server: Mailbox

    def handle(self) -> None:
        self.say("220 mail.example")
        while line := self.rfile.readline(LONGEST):
            match line.strip().upper()[:4]:
                case b"EHLO" | b"HELO" | b"RCPT" | b"RSET" | b"NOOP":
                    self.say("250 mail.example")
                case b"MAIL" if self.server.refuses:
                    self.server.refuses -= 1
                    self.say("451 later")
                case b"MAIL":
                    self.say("250 mail.example")
                case b"DATA":
                    self.say("354 go on")
                    self.server.mails.append(self.mail())
                    self.say("250 kept")
                case b"QUIT":
                    return self.say("221 bye")
                case _:
                    self.say("502 what?")

    def mail(self) -> email.message.EmailMessage:
        lines = []
        while (line := self.rfile.readline(LONGEST)) not in (b".\r\n", b"") and len(lines) < LINES:
            lines.append(line.removeprefix(b"."))
        return email.message_from_bytes(b"".join(lines), policy=email.policy.default)

    def say(self, what: str) -> None:
        self.wfile.write(f"{what}\r\n".encode())


@contextlib.contextmanager
def mailbox(port: int) -> Iterator[Mailbox]:
    with Mailbox(port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def mailed(author: Author) -> None:
    """Mailing a link by which a human answers an agent"""
    with mailbox(author.mail_port) as box:
        box.refuses = 1
        execution = ask(author, LINKED)
        error = author.new_run(WORKFLOW, "error", [])["data"]["resultData"]["error"]
        check("a mail that is not taken is told", "The mail was not sent" in error["message"], error["message"])
        mail = wait_for("the mail", lambda: box.mails and box.mails[0])
    attempts = [attempt["status"] for attempt in author.delivery(execution)["attempts"]]
    check("agent-relay called again", attempts == [503, 204], attempts)
    text = "\n".join(mail.get_content().splitlines())
    head = (mail["to"], mail["from"], mail["subject"], mail.get_content_type())
    right = ("approver@example.com", "agents@example.com", f"The agent {LINKED} asks a question", "text/plain")
    check("the mail is text, from and to whom Settings say", head == right, [*map(str, head)])
    tokens = LINK.findall(text)
    check("it has one link", len(tokens) == 1, text)
    question = [line for line in text.splitlines() if "Shall this be done?" in line or "evil" in line]
    check("what the agent asks is quoted", [line[:2] for line in question] == ["> ", "> "], text)
    check("it says until when", "The link is good until " in text, text)

    answer = {"token": tokens[0], "answer": {"approved": True, "comment": "Go on."}, "name": "Ana"}
    url, _ = author.relay_access
    call(urllib.request.build_opener(), "POST", f"{url}/v1/answers", answer)
    results = f"/v1/executions/{execution}/results?include_metadata=true"
    found = wait_for("its end", lambda: ended(author.relay("GET", results)))
    check("the agent has the answer", found["result"] == "Approved: Go on.", found)
    names = [by.get("name") for by in found["metadata"]["answered_by"]]
    check("it is kept who has answered", names == ["Ana"], names)


def without_a_link(author: Author) -> None:
    """Telling that an agent asks and allows no links"""
    before = author.runs(WORKFLOW, "error")
    with mailbox(author.mail_port) as box:
        execution = ask(author, "approval")
        error = author.new_run(WORKFLOW, "error", before)["data"]["resultData"]["error"]
        check("the workflow says what is to be set", "agents put --answer-links" in error["message"], error["message"])
        (attempt,) = author.delivery(execution)["attempts"]
        told = attempt["status"] == 200 and "there is no link" in attempt["detail"]
        check("agent-relay is told, and calls no more", told, attempt)
        succeeded = author.runs(WORKFLOW)
        author.tell(WORKFLOW, {"type": "subscription.test", "data": {"message": "This is a test."}})
        author.new_run(WORKFLOW, "success", succeeded)
        check("nothing is mailed, for a test neither", not box.mails, [str(mail) for mail in box.mails])
    author.relay("POST", f"/v1/executions/{execution}/cancel")


def ask(author: Author, agent: str) -> str:
    """Starts an agent whose question calls the workflow; returns its execution."""
    header = author.header
    start = {
        "agent_name": agent,
        "input_message": MESSAGE,
        "callback_url": f"{author.n8n.url}/webhook/agent-relay-{WORKFLOW}",
        "callback_headers": {header["name"]: header["value"]},
        "callback_events": ["execution.input_required"],
    }
    return author.relay("POST", "/v1/executions", start)["execution_id"]


def ended(results: dict) -> dict | None:
    return results if results["status"] == "completed" else None


SCENARIOS = [mailed, without_a_link]
