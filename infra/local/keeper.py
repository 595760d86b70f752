"""Runs one command and, when it is over, leaves none of its processes behind.

    keeper.py [--lock FILE] COMMAND [ARGUMENT...]

It is over when the command ends, when the keeper is asked to stop by a signal, or when the pipe at its
standard input closes: whoever holds the other end may die in any way, SIGKILL included. With --lock it
holds a lock on FILE, and has its process id in it, for as long as anything it started may live.
"""

import ctypes
import fcntl
import os
import select
import signal
import stat
import subprocess
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ON_LINUX = sys.platform == "linux"


def prctl(option: int, value: int) -> None:
    """Asks the Linux kernel for something; elsewhere the process group has to be enough."""
    if ON_LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with_parent(wish: int = signal.SIGKILL) -> None:
    """Has this process sent a signal when the one that started it ends."""
    prctl(PR_SET_PDEATHSIG, wish)


def run(command: list, **options) -> int:
    """Runs a command under a keeper of its own, so that all its processes end when we do."""
    keeper = subprocess.Popen(
        [sys.executable, __file__, *command], stdin=subprocess.PIPE, start_new_session=True, **options
    )
    try:
        return keeper.wait()
    finally:
        keeper.stdin.close()
        keeper.wait()


def take_lock(path: str) -> int:
    """Locks the file and writes our process id into it, or ends because another keeper has the lock."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{path} is held by a keeper that runs already")
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def spawn(command: list[str]) -> int:
    child = os.fork()
    if child == 0:
        try:
            die_with_parent()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.execvp(command[0], command)
        except OSError as error:
            print(f"cannot run {command[0]}: {error}", file=sys.stderr)
        os._exit(127)
    return child


def wait_until_over(child: int) -> int:
    """Returns the exit code: the command's own, or 128 + signal when something else ended the wait."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for wish in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(wish, lambda *_: None)

    sources = [reader]
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        sources.append(0)
    while True:
        # The child may have ended before its signal had a handler, so look first and wait afterwards.
        while (ended := reap()) is not None:
            if ended[0] == child:
                return ended[1]
        ready, _, _ = select.select(sources, [], [])
        if 0 in ready and not os.read(0, 1024):
            return 128 + signal.SIGTERM
        if reader in ready:
            for number in os.read(reader, 1024):
                if number != signal.SIGCHLD:
                    return 128 + number


def reap(flags: int = os.WNOHANG) -> tuple[int, int] | None:
    """Takes one ended child and its exit code."""
    try:
        pid, status = os.waitpid(-1, flags)
    except ChildProcessError:
        return None
    code = os.waitstatus_to_exitcode(status) if pid else 0
    return (pid, code if code >= 0 else 128 - code) if pid else None


def children() -> list[int]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                # The name, in parentheses, may hold anything; the parent is the second field after it.
                parent = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if parent == os.getpid():
            found.append(int(entry))
    return found


def kill_all() -> None:
    """Kills every descendant: the children of a killed child become ours, until there are none."""
    if not ON_LINUX:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        return
    while pids := children():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        reap(0)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[0] == "--lock":
        _lock = take_lock(arguments[1])
        arguments = arguments[2:]
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    code = wait_until_over(spawn(arguments))
    kill_all()
    sys.exit(code)


if __name__ == "__main__":
    main()
