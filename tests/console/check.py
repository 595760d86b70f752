"""Drives the console in a real browser, against a stack that infra/local/console_check.py has deployed.

    check.py FOLDER

It needs RELAY_URL, and the keys RELAY_API_KEY, RELAY_ADMIN_KEY and RELAY_VIEWER_KEY; the agent `linked` asks, and allows
answer links; the console knows the issuer RELAY_TEST_ISSUER, which the check is itself. Screenshots of each view, light, dark
and some on a phone, are put into FOLDER. With CONSOLE_BRIEFLY=1 it looks at what most visitors do, and no more.
"""

import http.server
import json
import os
import pathlib
import re
import shutil
import sys
import threading
import time
import urllib.parse
import urllib.request

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from issuer import AUDIENCE, LEEWAY, Issuer
from payloads import PAYLOADS

URL = os.environ["RELAY_URL"]
KEY, ADMIN, VIEWER = (os.environ[f"RELAY_{name}_KEY"] for name in ("API", "ADMIN", "VIEWER"))
ISSUER = os.environ["RELAY_TEST_ISSUER"]
FOLDER = pathlib.Path(sys.argv[1])
BRIEFLY = bool(os.environ.get("CONSOLE_BRIEFLY"))
SCHEMES = ["light"] if BRIEFLY else ["light", "dark"]
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 800}
PATIENCE = 30_000
# East of UTC, some times that a schema may name are beyond what a date can be.
ZONE = "Europe/Berlin"
RUNS = 120
# Every background request of the browser's own would fail here.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# What a page says of itself: what the policy has kept it from, and what a payload has done. It is told at once, since the
# next page knows nothing of it.
WATCH = """
    document.addEventListener("securitypolicyviolation", (it) => tell(it.violatedDirective + " " + it.blockedURI));
    window.pwned = (how) => tell("executed " + how);
    window.alert = window.confirm = window.prompt = () => pwned("dialog");
"""


class Receiver(http.server.ThreadingHTTPServer):
    """Takes every callback."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Callback)
        self.received: list[dict] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Callback(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Nobody wants to know."""


def call(method: str, path: str, body: dict | None = None, key: str = KEY) -> dict:
    request = urllib.request.Request(
        URL + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"x-api-key": key, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


def start(agent: str, message: str = "Hello", **more) -> str:
    return call("POST", "/v1/executions", {"agent_name": agent, "input_message": message, **more})["execution_id"]


def wait_for(run: str, *statuses: str) -> dict:
    deadline = time.monotonic() + 60
    while (seen := call("GET", f"/v1/executions/{run}"))["status"] not in statuses:
        assert time.monotonic() < deadline, f"{run} is {seen['status']}, and not {statuses}"
        time.sleep(0.2)
    return seen


class Visitor:
    """A tab of its own, and all that went wrong in it."""

    def __init__(self, browser: Browser, key: str | None):
        self.context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], viewport=DESK, timezone_id=ZONE)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.page.expose_function("tell", lambda what: self.errors.append(what))
        self.page.add_init_script(WATCH)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
        if key:
            self.page.goto(f"{URL}/console")
            self.sign_in(key)

    def sign_in(self, key: str):
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in", exact=True).click()

    def go(self, view: str):
        self.page.goto(f"{URL}/console#/{view}")

    def look(self, name: str, on_phone: bool = False):
        """Keeps what is to be seen, and holds it against the rules of accessibility."""
        for scheme in SCHEMES:
            self.page.emulate_media(color_scheme=scheme)
            self._keep(f"{name}-{scheme}")
        self.page.emulate_media(color_scheme="light")
        if on_phone:
            self.page.set_viewport_size(PHONE)
            self._keep(f"{name}-phone")
            assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
            self.page.set_viewport_size(DESK)

    def _keep(self, name: str):
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=FOLDER / f"{name}.png", full_page=True)
        found = Axe().run(self.page).response["violations"]
        bad = [f"{it['id']}: {it['nodes'][0]['html']}" for it in found if it["impact"] in ("serious", "critical")]
        assert not bad, f"{name}: {bad}"

    def leave(self):
        self.context.close()
        assert not self.errors, self.errors


def signing_in(browser: Browser):
    visitor = Visitor(browser, None)
    page = visitor.page
    page.goto(f"{URL}/console")
    expect(page.get_by_role("button", name="Sign in with")).to_be_visible()
    visitor.look("sign-in")
    visitor.sign_in("relay_nobodys")
    expect(page.get_by_role("alert")).to_contain_text("key")
    visitor.sign_in(KEY)
    expect(page.get_by_role("link", name="Runs")).to_have_attribute("aria-current", "page")
    # It stays over a reload, and not over a sign-out.
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length + localStorage.length + document.cookie.length") == 0
    # A key that is taken no more leads back, with the reason.
    visitor.sign_in(KEY)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.evaluate("sessionStorage.setItem(sessionStorage.key(0), 'relay_revoked')")
    visitor.go("agents")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name="Sign in again").click()
    expect(page.get_by_label("API key")).to_be_visible()
    visitor.leave()


def signing_in_at_an_issuer(browser: Browser):
    issuer = Issuer(ISSUER)
    visitor = Visitor(browser, None)
    page = visitor.page
    sent: list[dict[str, str]] = []
    page.on("request", lambda request: sent.append(request.headers) if "/v1/" in request.url else None)
    begin = page.get_by_role("button", name=f"Sign in with {ISSUER.split('//')[1]}")
    reason = page.get_by_role("alert")
    here = f"{URL}/console"

    def comes_in(view: str):
        """What was wanted is seen, and the address has nothing of the issuer's left."""
        expect(page.locator(".who")).to_contain_text("test|ana")
        assert page.url == f"{here}#/{view}", page.url
        assert page.evaluate("Object.keys(sessionStorage)") == ["agent-relay.key"]

    def stays_out(why: str, view: str):
        expect(reason).to_contain_text(why)
        expect(begin).to_be_visible()
        assert page.url == f"{here}#/{view}", page.url
        assert page.evaluate("sessionStorage.length + localStorage.length + document.cookie.length") == 0

    visitor.go("agents/echo")
    begin.click()
    comes_in("agents/echo")
    asked = issuer.asked[0]
    assert asked["scope"] == "openid execute:* view:*" and asked["audience"] == AUDIENCE, asked
    assert asked["redirect_uri"] == here, asked
    page.reload()
    comes_in("agents/echo")
    # The token may what its scope says, and is in no command.
    page.get_by_label("Message").fill("By a token")
    page.get_by_label("wait_seconds").fill("0")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("region", name="Result")).to_contain_text("By a token")
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    token = page.evaluate("sessionStorage.getItem('agent-relay.key')")
    assert "Bearer $RELAY_API_KEY" in command and token not in command, command
    assert sent and all(it.get("authorization") == f"Bearer {token}" and "x-api-key" not in it for it in sent), sent
    page.get_by_role("button", name="Sign out").click()
    expect(begin).to_be_visible()

    visitor.go("agents")
    issuer.refusal = {"error": "access_denied", "error_description": "Ana has said <b>no</b>"}
    begin.click()
    stays_out("Ana has said <b>no</b>", "agents")
    issuer.refusal, issuer.state = {}, "of somebody else"
    begin.click()
    stays_out("not begun in this tab", "agents")
    issuer.state, issuer.forgets = None, True
    begin.click()
    stays_out("The code is not known", "agents")
    issuer.forgets = False
    # Nobody is signed in, or out, by a link.
    page.goto(f"{here}?code=another&state=another#/agents")
    stays_out("not begun in this tab", "agents")
    visitor.sign_in(KEY)
    expect(page.get_by_role("link", name="echo")).to_be_visible()
    page.goto(f"{here}?error=access_denied&error_description=Call+us&state=another#/agents")
    expect(page.get_by_role("link", name="echo")).to_be_visible()
    assert page.url == f"{here}#/agents" and not page.get_by_text("Call us").count(), page.url
    page.get_by_role("button", name="Sign out").click()

    # One that ends leads back to where it began, with the reason.
    visitor.go("runs?status=completed")
    issuer.lifetime = 15 - LEEWAY
    begin.click()
    comes_in("runs?status=completed")
    # What is typed stays to be seen.
    page.get_by_label("by its id").fill("mcp-")
    again = page.get_by_role("button", name="Sign in again")
    expect(again).to_be_visible()
    expect(page.get_by_label("by its id")).to_have_value("mcp-")
    expect(page.get_by_label("Status")).to_have_value("completed")
    again.click()
    stays_out("has expired", "runs?status=completed")
    issuer.lifetime = 600
    begin.click()
    comes_in("runs?status=completed")
    visitor.leave()
    issuer.shutdown()


def a_newcomers_walk(browser: Browser):
    """Why did `fail` fail? What does `approval` ask? Send a callback again. Counts the clicks."""
    receiver = Receiver()
    failed, asking = start("fail", callback_url=receiver.url), start("approval", "Send the report.")
    wait_for(failed, "failed")
    wait_for(asking, "input_required")
    while not receiver.received:
        time.sleep(0.1)
    visitor = Visitor(browser, KEY)
    page = visitor.page
    clicks = 0

    def click(what):
        nonlocal clicks
        clicks += 1
        what.click()

    click(page.get_by_label("Went wrong").get_by_role("link", name="fail").first)
    expect(page.get_by_role("region", name="Error")).to_contain_text("Example")
    visitor.look("run-failed")
    delivery = page.get_by_role("region", name="Deliveries")
    click(delivery.locator("summary"))
    click(delivery.get_by_role("button", name="Deliver again"))
    expect(delivery.locator("summary")).to_contain_text("2 attempts", timeout=PATIENCE)
    assert len(receiver.received) == 2
    click(page.get_by_role("link", name="Questions"))
    card = page.locator("form.card").filter(has_text="Send the report.")
    visitor.look("questions")
    click(card.get_by_label("Yes"))
    click(card.get_by_role("button", name="Answer"))
    expect(page.get_by_role("status").filter(has_text="Answered")).to_be_visible()
    assert wait_for(asking, "completed")
    print(f"    {clicks} clicks", flush=True)
    # A page that has not seen the question knows it, too, and who has answered when.
    visitor.go(f"runs/{asking}")
    timeline = page.get_by_role("region", name="Timeline")
    for said in ("Asked", "Answered"):
        expect(timeline.get_by_role("listitem").filter(has_text=said).locator("time")).to_have_count(1)
    expect(timeline).to_contain_text("Send the report.")
    visitor.leave()


def starting_and_stopping(browser: Browser):
    visitor = Visitor(browser, KEY)
    page = visitor.page
    visitor.go("agents")
    expect(page.get_by_role("link", name="echo")).to_be_visible()
    visitor.look("agents")
    page.get_by_role("link", name="echo").click()
    page.get_by_label("Message").fill("From a browser")
    page.get_by_label("wait_seconds").fill("9999")
    page.get_by_role("button", name="Start").click()
    # The API's refusal stands beside its field.
    expect(page.get_by_label("wait_seconds")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("wait_seconds").fill("0")
    visitor.look("agent")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("completed")
    expect(page.get_by_role("region", name="Result")).to_contain_text("From a browser")
    visitor.look("run-completed", on_phone=True)
    page.get_by_role("button", name="Copy as curl").click()
    assert "rerun" in page.evaluate("navigator.clipboard.readText()")
    before = page.url
    page.get_by_role("button", name="Rerun").click()
    page.wait_for_url(lambda url: url != before)
    expect(page.get_by_role("heading", level=1)).to_contain_text("completed")

    slow = start("slow")
    wait_for(slow, "running")
    visitor.go(f"runs/{slow}")
    visitor.look("run-running")
    # A dialog ends with its view: nobody cancels what is no longer to be seen.
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_contain_text(slow)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text("completed")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.go_forward()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
    visitor.look("run-cancelled")

    asking = start("approval", "May it go on?")
    wait_for(asking, "input_required")
    visitor.go(f"runs/{asking}")
    expect(page.get_by_role("region", name="Questions")).to_contain_text("May it go on?")
    visitor.look("run-asking")
    call("POST", f"/v1/executions/{asking}/cancel")
    visitor.leave()


def subscriptions_and_batches(browser: Browser):
    receiver = Receiver()
    visitor = Visitor(browser, KEY)
    page = visitor.page
    visitor.go("subscriptions")
    page.get_by_label("URL of the receiver").fill(receiver.url)
    page.get_by_role("button", name="Create").click()
    card = page.get_by_role("region", name=receiver.url)
    expect(card).to_contain_text("whsec_")
    card.get_by_role("button", name="Test").click()
    expect(card).to_contain_text("healthy", timeout=PATIENCE)
    assert receiver.received[0]["type"] == "subscription.test"
    visitor.look("subscriptions")
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)

    items = [{"agent_name": "echo", "input_message": str(n)} for n in range(3)]
    items += [{"agent_name": "nobody", "input_message": "x"}]
    batch = call("POST", "/v1/batches", {"items": items})["batch_id"]
    visitor.go(f"batches/{batch}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("completed", timeout=PATIENCE)
    expect(page.get_by_role("table", name="Items")).to_contain_text("refused")
    visitor.look("batch")
    visitor.leave()


def rights(browser: Browser):
    """Buttons only for what the key may do, and an administrator sees everybody's."""
    done, asking = start("echo", parameters={"wait_seconds": 0}), start("approval")
    wait_for(done, "completed")
    wait_for(asking, "input_required")
    visitor = Visitor(browser, VIEWER)
    page = visitor.page
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    visitor.go(f"runs/{done}")
    expect(page.get_by_role("region", name="Result")).to_be_visible()
    for name in ("Rerun", "Cancel", "Redrive"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    visitor.go("questions")
    expect(page.get_by_text("execute:approval").first).to_be_visible()
    expect(page.get_by_role("button", name="Answer", exact=True)).to_have_count(0)
    visitor.leave()

    admin = Visitor(browser, ADMIN)
    row = admin.page.get_by_role("table", name="Runs").get_by_role("row").filter(has_text=asking[-6:])
    expect(row.get_by_role("link", name="local")).to_be_visible()
    admin.page.get_by_label("Open", exact=True).check()
    admin.page.wait_for_url("**open=true**")
    expect(row.get_by_role("link", name="local")).to_be_visible()
    admin.go("questions")
    expect(admin.page.locator("form.card").filter(has_text=asking[-6:])).to_contain_text("local")
    call("POST", f"/v1/executions/{asking}/input", {"answer": {"approved": False}})
    admin.go("runs?user=local")
    expect(admin.page.get_by_role("table", name="Runs")).to_contain_text("echo")
    admin.leave()


def answering_by_a_link(browser: Browser):
    run = start("linked", "Pay the invoice?")
    wait_for(run, "input_required")
    link = call("GET", f"/v1/executions/{run}/answer-links")["answer_links"][0]["url"]
    token = link.split("#")[1]
    visitor = Visitor(browser, None)
    page = visitor.page
    another = page.get_by_text("Ask whoever sent it for another one.")
    page.goto(f"{URL}/answer#{token[:-2]}")
    expect(page.get_by_role("alert")).to_contain_text("not found")
    expect(another).to_be_visible()
    # What passes by itself is not the link's fault.
    page.route("**/v1/answers", lambda route: route.fulfill(status=503, json={"detail": "unavailable"}), times=1)
    page.goto(f"{URL}/answer#{token}")
    expect(page.get_by_role("alert")).to_contain_text("Trying again")
    expect(another).to_have_count(0)
    expect(page.get_by_text("Pay the invoice?")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    visitor.look("answer")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_text("Choose one.")).to_be_visible()
    page.get_by_label("Yes").check()
    page.get_by_label("comment").fill("Fine.")
    page.get_by_label("Your name").fill("Ana")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("heading", name="Answered. Thank you.")).to_be_focused()
    expect(page).to_have_title("Answered. Thank you.")
    wait_for(run, "completed")
    results = call("GET", f"/v1/executions/{run}/results?include_metadata=true")
    assert results["result"] == "Approved: Fine.", results
    assert results["metadata"]["answered_by"][0]["name"] == "Ana", results
    page.reload()
    expect(page.get_by_text("Nobody waits")).to_be_visible()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    visitor.leave()


# What few forms know, and times that few clocks have.
ODD = {
    "type": "object",
    "title": "The decision",
    "description": "Take your time.",
    "required": ["way", "day", "version"],
    "$defs": {"day": {"type": "string", "format": "date", "title": "Some day"}, "loop": {"$ref": "#/$defs/loop"}},
    "properties": {
        "way": {"oneOf": [{"const": "a", "title": "By air"}, {"const": "b", "title": "By boat"}]},
        "day": {"$ref": "#/$defs/day"},
        "version": {"const": 12345678901234567890},
        "loop": {"$ref": "#/$defs/loop"},
        "rest": {"type": "object", "patternProperties": {"^x-": {}}},
        "last": {"type": "string", "format": "date-time", "default": "+275760-09-13T00:00:00.000Z"},
        "since": {"type": "string", "format": "date-time", "default": "2026-01-01T00:00:00.123456Z"},
        "who": {"type": "array", "items": {"enum": ["ann", "bob"]}, "default": ["ann", "bob"]},
        "again": {
            "type": "object",
            "required": ["url"],
            "properties": {"url": {"type": "string"}, "times": {"type": "integer", "default": 3}},
        },
    },
}


def odd_questions(browser: Browser):
    """On a later page of the list, of any schema: one card that cannot be drawn is one, and half a date is no answer."""
    run = start("approval", "Odd?")
    seen = wait_for(run, "input_required")
    first = seen["questions"][0]
    schemas = [ODD, {"type": "string", "format": "date-time", "title": {"toString": 1}}]
    questions = [first | {"id": f"{at:032x}", "question": f"Odd {at}?", "schema": schema} for at, schema in enumerate(schemas)]
    sent: list[dict] = []

    def answer(route):
        sent.append(route.request.post_data_json)
        route.fulfill(status=202, json={"execution_id": run, "question_id": "", "status": "answered"})

    listing = re.compile(r"/v1/executions\?.*status=input_required")
    visitor = Visitor(browser, KEY)
    page = visitor.page
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.route(listing, lambda route: route.fulfill(json={"executions": [], "next_cursor": "more"}))
    visitor.go("questions")
    expect(page.get_by_text("None of the runs looked through waits")).to_be_visible()
    expect(page.get_by_text("No agent waits")).to_have_count(0)
    found = {"executions": [seen | {"questions": []}]}
    page.route(re.compile(listing.pattern + ".*cursor=more"), lambda route: route.fulfill(json=found))
    page.route(f"**/v1/executions/{run}", lambda route: route.fulfill(json=seen | {"questions": questions}))
    page.route(f"**/v1/executions/{run}/input", answer)
    visitor.go("agents")
    visitor.go("questions")
    cards = page.locator("form.card")
    expect(cards).to_have_count(2)
    card = cards.first
    expect(card).to_contain_text("Take your time.")
    expect(card.get_by_text("What is allowed")).to_have_count(2)
    visitor.look("questions-odd")
    card.get_by_label("way").select_option(label="By boat")
    card.get_by_label("Some day").click()
    page.keyboard.type("12")
    card.get_by_role("button", name="Answer", exact=True).click()
    expect(card.get_by_text("Complete this, or clear it.")).to_be_visible()
    assert not sent, sent
    card.get_by_label("Some day").fill("2026-12-01")
    for name in ("ann", "bob"):
        card.get_by_label(name).uncheck()
    card.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Answered")).to_be_visible()
    last, since = (ODD["properties"][name]["default"] for name in ("last", "since"))
    assert sent[0]["answer"] == {
        "way": "b", "day": "2026-12-01", "version": 12345678901234567890, "last": last, "since": since, "who": [],
    }, sent  # fmt: skip
    # A view that cannot be drawn keeps nobody from the others.
    found["executions"][0]["status"] = None
    visitor.go("runs?status=input_required")
    expect(page.get_by_text("This cannot be shown")).to_be_visible()
    for view in ("toString", "constructor", "__proto__"):
        visitor.go(view)
        expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    for view in ("runs?since=constructor", "runs?after=%2B275760-09-13T00:00:00.000Z"):
        visitor.go(view)
        expect(page.get_by_label("Status")).to_be_visible()
    call("POST", f"/v1/executions/{run}/cancel")
    visitor.leave()


def answering_among_others(browser: Browser):
    """Whoever types is not disturbed: not by another's answer, nor by a list that lacks their run for once."""
    first, second = start("approval", "First?"), start("approval", "Second?")
    for run in (first, second):
        wait_for(run, "input_required")
    visitor = Visitor(browser, KEY)
    page = visitor.page
    visitor.go("questions")
    cards = page.locator("form.card")
    expect(cards.filter(has_text="First?")).to_be_visible()
    comment = cards.filter(has_text="Second?").get_by_label("comment")
    comment.click()
    page.keyboard.type("Half ")
    call("POST", f"/v1/executions/{first}/input", {"answer": {"approved": False}})
    expect(cards.filter(has_text="First?")).to_have_count(0)
    page.keyboard.type("a ")
    # Then the run itself is asked.
    with page.expect_response(lambda answer: answer.url.endswith(second)):
        page.route(re.compile("status=input_required"), lambda route: route.fulfill(json={"executions": []}), times=1)
    page.keyboard.type("word")
    expect(comment).to_have_value("Half a word")
    expect(page.get_by_text("Nobody waits")).to_have_count(0)
    call("POST", f"/v1/executions/{second}/cancel")
    visitor.leave()


def many_runs(browser: Browser):
    for at in range(0, RUNS, 60):
        items = [{"agent_name": "echo", "input_message": f"{at + n}", "parameters": {"wait_seconds": 0}} for n in range(60)]
        batch = call("POST", "/v1/batches", {"items": items, "tags": {"of": "many"}})["batch_id"]
        deadline = time.monotonic() + 120
        while call("GET", f"/v1/batches/{batch}")["status"] != "completed":
            assert time.monotonic() < deadline, "the batch does not end"
            time.sleep(0.5)
    visitor = Visitor(browser, KEY)
    page = visitor.page
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    started = time.monotonic()
    page.reload()
    rows = page.get_by_role("table", name="Runs").locator("tbody tr")
    expect(rows).to_have_count(100)
    listed = time.monotonic() - started
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    print(f"    first paint after {paint:.0f} ms, 100 runs after {1000 * listed:.0f} ms", flush=True)
    visitor.look("runs", on_phone=True)
    page.get_by_role("link", name="Next page").click()
    page.wait_for_url("**cursor=**")
    expect(rows.first).to_be_visible()
    page.get_by_role("link", name="First page").click()
    expect(rows).to_have_count(100)
    page.get_by_label("Status").select_option("failed")
    page.wait_for_url("**status=failed**")
    expect(rows.first).to_contain_text("failed")
    visitor.leave()


def hostile_texts(browser: Browser):
    """Payloads in every field that a caller, agent or receiver writes: nothing runs, and the policy has nothing to report."""
    ten = [PAYLOADS[at : at + 10] for at in range(0, len(PAYLOADS), 10)]
    runs = []
    for texts in ten:
        message = "\n".join(texts)
        tags = {f"t{n}": text[:200] for n, text in enumerate(texts[:5]) if text[:200].strip()}
        runs.append(start("echo", message, tags=tags, parameters={"wait_seconds": 0}))
    for texts in ten[:4]:
        runs.append(start("linked", "\n".join(texts)[:1800]))
    receivers = [f"http://127.0.0.1:9/?{urllib.parse.quote(text)}" for text in PAYLOADS[:5]]
    made = [call("POST", "/v1/subscriptions", {"url": url})["id"] for url in receivers]
    for run in runs:
        wait_for(run, "completed", "input_required")
    visitor = Visitor(browser, KEY)
    page = visitor.page
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    for view in ("runs", "questions", "agents", "subscriptions"):
        visitor.go(view)
        page.wait_for_timeout(1_500)
        assert not visitor.errors, (view, visitor.errors)
    for run, texts in zip(runs, ten):
        visitor.go(f"runs/{run}")
        region = page.get_by_role("region", name="Result")
        expect(region).to_be_visible()
        assert texts[0][:20] in region.inner_text().replace("\u00a0", " "), texts[0]
    for payload in PAYLOADS:
        visitor.go(f"runs/{urllib.parse.quote(payload, safe='')}")
    page.wait_for_timeout(1_000)
    links = page.evaluate("[...document.links].map((it) => it.protocol).filter((it) => !/^https?:$/.test(it))")
    assert not links, links
    for run in runs[len(ten) :]:
        token = call("GET", f"/v1/executions/{run}/answer-links")["answer_links"][0]["url"].split("#")[1]
        page.goto(f"{URL}/answer#{token}")
        expect(page.locator(".question")).to_be_visible()
        call("POST", f"/v1/executions/{run}/cancel")
    for subscription in made:
        call("DELETE", f"/v1/subscriptions/{subscription}")
    visitor.leave()


BRIEF = [signing_in, a_newcomers_walk, answering_by_a_link]
ALL = [signing_in, signing_in_at_an_issuer, a_newcomers_walk, starting_and_stopping, subscriptions_and_batches, rights,
       odd_questions, answering_among_others, answering_by_a_link, many_runs, hostile_texts]  # fmt: skip


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=FLAGS)
        for scenario in BRIEF if BRIEFLY else ALL:
            started = time.monotonic()
            print(f"  {scenario.__name__.replace('_', ' ')} ...", flush=True)
            scenario(browser)
            print(f"    done in {time.monotonic() - started:.1f} s", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
