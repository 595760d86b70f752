"""Tests the console in a real browser, against a stack of its own: tests/console has what is done there."""

import json
import os
import pathlib
import shutil

import keeper
from report import Failure, step
from stack import ROOT, Stack

CHECK = ROOT / "tests" / "console" / "check.py"
SCREENSHOTS = ROOT / ".local" / "console" / "screenshots"
# As tests/console/issuer.py names them.
CLIENT = "console-of-the-tests"
AUDIENCE = "agent-relay-console"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser() -> str:
    """The browser of this machine; on a Debian where we are root it is installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with step("Installing Chromium"):
            for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]):
                if keeper.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, cwd=ROOT):
                    raise Failure("Chromium could not be installed.")
        found = shutil.which("chromium")
    if found is None:
        raise Failure("make test-console needs Chromium or Chrome.")
    return found


def parameters(issuer: str) -> dict[str, str]:
    """Of a stack at whose console one can sign in at this issuer."""
    return {
        "OAuthIssuers": f"test={issuer}",
        "OAuthAudiences": AUDIENCE,
        "ConsoleOAuthClientId": CLIENT,
        "ConsoleOAuthAuthorizeUrl": f"{issuer}/authorize?scope=openid%20execute:*%20view:*&audience={AUDIENCE}",
        "ConsoleOAuthTokenUrl": f"{issuer}/token",
    }


def run(stack: Stack, python: pathlib.Path, chromium: str, issuer: str) -> None:
    environment = stack.deploy()
    outputs = json.loads(environment["RELAY_TEST_OUTPUTS"])
    stack.run_relayctl("agents", "put", "linked", "--machine", outputs["ApprovalMachineArn"], "--answer-links")
    environment["RELAY_VIEWER_KEY"] = stack.create_key("local", "--permission", "view:*")
    environment["RELAY_TEST_ISSUER"] = issuer
    environment["CHROMIUM"] = chromium
    with step("Visiting the console"):
        if keeper.run([python, CHECK, SCREENSHOTS], env=os.environ | environment, cwd=ROOT):
            raise Failure(f"The console does not do what it should. Screenshots are in {SCREENSHOTS.relative_to(ROOT)}.")
