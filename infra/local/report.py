"""How the tool speaks: one line for each step with the time it took, one sentence for a failure."""

import contextlib
import time
from collections.abc import Iterator


class Failure(Exception):
    """Something the user has to know, said in one sentence."""


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    print(f"{what} ...", flush=True)
    started = time.monotonic()
    yield
    print(f"  done in {time.monotonic() - started:.1f} s", flush=True)
