"""The local engine: a ministack process of our own, found again by the lock that its keeper holds."""

import fcntl
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from report import Failure, step

KEEPER = pathlib.Path(__file__).with_name("keeper.py")
FAULTS = KEEPER.with_name("faults.py")
MINISTACK = KEEPER.with_name("ministack_server.py")
REGION = "us-east-1"
# The engine takes this key for the account's root; every other caller needs what IAM grants it.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}


class Engine:
    """What runs, or could run, in one state directory."""

    def __init__(self, state: pathlib.Path):
        self.state = state
        self.lock = state / "lock"
        self.log = state / "ministack.log"
        self._endpoint = state / "endpoint"
        # Where the proxy listens through which the functions' AWS calls can be made to fail, if there is one.
        self.faults: str | None = None

    @property
    def endpoint(self) -> str:
        return self._endpoint.read_text()

    def aws(self) -> dict[str, str]:
        """The variables with which an AWS client talks to this engine."""
        return {"AWS_ENDPOINT_URL": self.endpoint, **CREDENTIALS}

    def keeper(self) -> int | None:
        """Process id of the keeper. The lock proves that it lives and is ours."""
        try:
            with self.lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return int(self.lock.read_text())

    def healthy(self) -> bool:
        return answers(f"{self.endpoint}/_ministack/health")

    def start(self, outlives_us: bool, with_faults: bool = False, more: dict[str, str] | None = None) -> None:
        """Starts an engine with no state. Unless it outlives us, it ends when we do, however that is.

        The functions inherit `more`, its further variables.
        """
        with step("Starting the local engine"):
            shutil.rmtree(self.state, ignore_errors=True)
            temporary = self.state / "tmp"
            temporary.mkdir(parents=True)
            port = free_port()
            self._endpoint.write_text(f"http://127.0.0.1:{port}")
            # Lambda functions inherit all of this, so it holds nothing of the developer's own.
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(self.state),
                "TMPDIR": str(temporary),
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(port),
                "AUTH": "true",
                **self.aws(),
                **(more or {}),
            }
            command = [sys.executable, MINISTACK]
            if with_faults:
                proxy_port = free_port()
                self.faults = f"http://127.0.0.1:{proxy_port}"
                # The engine hands its own variable on to the functions, and reads it for nothing else.
                environment["AWS_ENDPOINT_URL"] = self.faults
                command = [sys.executable, FAULTS, str(proxy_port), self.endpoint]
            with self.log.open("wb") as log:
                # Held for as long as this object lives: the keeper stops when its pipe is closed.
                self._started = subprocess.Popen(
                    [sys.executable, KEEPER, "--lock", self.lock, *command],
                    env=environment,
                    stdin=subprocess.DEVNULL if outlives_us else subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            deadline = time.monotonic() + 30
            while not self.healthy() or (with_faults and not answers(f"{self.faults}/_microburst/health")):
                if self._started.poll() is not None or time.monotonic() > deadline:
                    raise Failure(f"The local engine does not start; see {self.log}.")
                time.sleep(0.05)

    def stop(self) -> bool:
        """Ends the engine and everything it started; false if there was none."""
        keeper = self.keeper()
        if keeper is None:
            return False
        os.kill(keeper, signal.SIGTERM)
        with self.lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        shutil.rmtree(self.state / "tmp", ignore_errors=True)
        return True


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def reserved_port() -> int:
    """A free port that nobody is given by chance, for what starts to listen later."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
