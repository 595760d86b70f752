"""Measures the functions as they are deployed: their size, and by tests/bench what they take."""

import json
import os
import pathlib
import struct
import tempfile
import zipfile
from collections.abc import Iterator

import keeper
from report import Failure, step
from stack import FUNCTIONS, ROOT, TARGET

RELEASE = TARGET / "release"
# In megabytes, zipped as `sam deploy` does it: a little more than each is now, so that what makes one
# grow is seen. docs/performance.md says what is in those that are larger.
SIZE_LIMITS = {"mcp": 4.4, "start": 3.7, "status": 3.4}
SIZE_LIMIT = 3.0


def run() -> None:
    # One by one: built together, the floor would have the features of all others.
    for packages in ([], ["-p", "floor"], ["-p", "bench"]):
        with step("Building " + " ".join(["cargo build --release", *packages])):
            if keeper.run(["cargo", "build", "--release", *packages], cwd=ROOT):
                raise Failure("The release does not build.")
    check_unwinding()
    check_sizes()
    command = [RELEASE / "bench", RELEASE, ROOT / "target" / "bench", *os.environ.get("BENCH_ARGS", "").split()]
    with step("Measuring"):
        if keeper.run(command, cwd=ROOT):
            raise Failure("A function takes more than it may.")


def check_unwinding() -> None:
    """A panic is one failed invocation, and not the end of its environment."""
    aborting = [function for function in FUNCTIONS if not unwinds(RELEASE / function)]
    if aborting:
        raise Failure(f"A panic aborts them: {', '.join(aborting)}")


def unwinds(binary: pathlib.Path) -> bool:
    """
    Whether code has somewhere to go when it panics: tables of what to clean up and catch (.gcc_except_table),
    of which those of the standard library, a few kilobytes, are there in a build that aborts as well.
    """
    sizes = {name: size for name, size in sections(binary.read_bytes())}
    return sizes.get(".gcc_except_table", 0) > sizes[".text"] / 100


def sections(elf: bytes) -> Iterator[tuple[str, int]]:
    """Name and size of each section of a 64-bit ELF file; `strip` leaves these."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    width, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + width * index) for index in range(count)]
    names = headers[names_index][4]
    for name, _, _, _, _, size in headers:
        start = names + name
        yield elf[start : elf.index(0, start)].decode(), size


def check_sizes() -> None:
    sizes = {function: zipped(RELEASE / function) for function in FUNCTIONS}
    print("\nSIZE             MB  zipped")
    for function, size in sizes.items():
        print(f"{function:<12}{(RELEASE / function).stat().st_size / 1e6:>7.2f}{size:>8.2f}")
    file = ROOT / "target" / "sizes.json"
    file.write_text(json.dumps(sizes, indent=2))
    large = [name for name, size in sizes.items() if size > SIZE_LIMITS.get(name, SIZE_LIMIT)]
    if large:
        raise Failure(f"Larger than they may be: {', '.join(large)}")


def zipped(binary: pathlib.Path) -> float:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(binary, "bootstrap")
        return file.tell() / 1e6
