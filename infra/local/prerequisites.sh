#!/bin/sh
# Says in one sentence each what this machine lacks, and fails if it lacks anything.
missing=0

lacks() {
    echo "agent-relay needs $1" >&2
    missing=1
}

has() { command -v "$1" >/dev/null 2>&1; }

version=$(cargo --version 2>/dev/null | cut -d' ' -f2)
minor=$(echo "$version" | cut -d. -f2)
if [ -z "$version" ]; then
    lacks "cargo 1.95 or newer: install Rust from https://rustup.rs."
elif [ "${version%%.*}" -eq 1 ] && [ "$minor" -lt 95 ]; then
    lacks "cargo 1.95 or newer, and this one is $version: run 'rustup update'."
fi

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    lacks "python3 3.10 or newer."
elif ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    lacks "Python's venv module: install the package python3-venv."
fi

has make || lacks "make."
has cc || lacks "a C compiler called cc: install gcc or clang."

exit $missing
