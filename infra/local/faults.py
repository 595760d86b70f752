"""Runs the engine and, before it, a proxy that can make the functions' AWS calls fail.

    faults.py PORT ENGINE

The proxy listens on PORT of loopback and passes on to ENGINE, a URL. It fails nothing until it is told to,
by /_microburst/rules (https://pypi.org/project/microburst/). Only what is given the proxy's URL as
AWS_ENDPOINT_URL talks through it: the functions do, the tests and `sam` do not.
"""

import os
import subprocess
import sys
import threading

import microburst.cli
import microburst.forward


def keep_host(headers_sent_on) -> None:
    """Passes the `Host` on as it came: the functions have signed it, and the engine checks that."""

    def with_host(self, request):
        return headers_sent_on(self, request) | {"host": request.headers["Host"]}

    microburst.forward.Upstream._outbound_headers = with_host


def end_with(engine: subprocess.Popen) -> None:
    engine.wait()
    os._exit(1)


def main() -> None:
    port, endpoint = sys.argv[1:]
    keep_host(microburst.forward.Upstream._outbound_headers)
    engine = subprocess.Popen([sys.executable, "-m", "ministack"], stdin=subprocess.DEVNULL)
    threading.Thread(target=end_with, args=(engine,), daemon=True).start()
    # When we end, in whichever way, the keeper ends the engine.
    sys.exit(microburst.cli.main(["--host", "127.0.0.1", "--port", port, "--upstream", endpoint]))


if __name__ == "__main__":
    main()
