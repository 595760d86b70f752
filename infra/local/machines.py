"""Has asl-validator check the example agents' state machines and those that the docs show.

    machines.py VALIDATOR

It checks states, fields and transitions, and parses what stands between {% and %}.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]


def machines() -> Iterator[tuple[str, str]]:
    """The name and the text of each machine."""
    for file in sorted(ROOT.glob("infra/agents/*.asl.json")):
        yield file.name, file.read_text()
    for page in sorted(ROOT.glob("docs/*.md")):
        text = page.read_text()
        for block in re.finditer(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if '"StartAt"' in block[1]:
                line = text.count("\n", 0, block.start()) + 1
                yield f"{page.name}-line-{line}.json", block[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, text in machines():
            files.append(pathlib.Path(folder, name))
            files[-1].write_text(text)
        paths = [part for file in files for part in ("--json-path", file)]
        done = subprocess.run([sys.argv[1], *paths], capture_output=True, text=True)
        if done.returncode:
            invalid = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("✓")]
            sys.exit("\n".join(invalid).replace(f"{folder}/", ""))
    print(f"  {len(files)} machines, no findings")


if __name__ == "__main__":
    main()
