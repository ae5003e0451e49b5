"""Start the engine within its limits, and kill it when the worker dies.

    python -I -S keeper.py '{"lifeline": 5, "command": [...], ...}'

`jobs.hosted.sandbox` starts this program; nothing imports it, and it needs the standard
library alone. It is a process of its own for two reasons. Code between fork and exec is
unsafe in a worker with threads. And a worker that was killed cannot kill its engine.

1. The keeper lowers its priority. Where the kernel allows it, it enters new namespaces
   of users, of networks (without any interface), of processes and of shared memory.
2. It starts the engine as a child with resource limits.
3. It waits for the engine's end and exits with the engine's code, or with 128 and the
   signal that ended the engine.
4. The worker holds the other end of the pipe `lifeline`. The kernel closes that end
   when the worker ends for any reason. Then the keeper kills its process group.

In a namespace of processes, a child of the keeper is the first process and the engine
its child: the first process of a namespace ignores signals such as SIGABRT. When the
first process ends, the kernel kills all others, also those that left the process group.
Where the kernel allows no namespace, the worker kills the process group.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
from typing import Any

CLONE_NEWIPC, CLONE_NEWUSER = 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1


def isolate() -> bool:
    """Enter the new namespaces. Returns False where the kernel allows none."""
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    if unshare is None:
        return False
    user, group = os.geteuid(), os.getegid()
    if unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC) != 0:
        return False
    # Without these lines the engine would run as the overflow user; that works as well.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def start(how: dict[str, Any], *, isolated: bool) -> int:
    """Start the engine with its limits; returns the process to wait for."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if sys.platform == "linux":
            # If the keeper alone is killed, the engine must not go on without limits.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if isolated and (engine := os.fork()):
            os._exit(first_process(engine))
        for name, amount in how["limits"].items():
            limit = getattr(resource, name)
            _, most = resource.getrlimit(limit)
            amount = amount if most == resource.RLIM_INFINITY else min(amount, most)
            resource.setrlimit(limit, (amount, amount))
        command: list[str] = how["command"]
        os.execve(command[0], command, how["environment"])  # noqa: S606 — no shell
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(127)


def first_process(engine: int) -> int:
    """Wait for every process of the namespace, until the engine has ended."""
    while True:
        ended, status = os.wait()
        if ended == engine:
            return code_of(status)


def code_of(status: int) -> int:
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def wait(pid: int, lifeline: int, woken: int) -> int:
    """Return the engine's wait status. If the worker dies first, kill the group."""
    while True:
        ready, _, _ = select.select([lifeline, woken], [], [])
        if lifeline in ready:
            os.killpg(0, signal.SIGKILL)
        os.read(woken, 512)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status


def main(how: dict[str, Any]) -> int:
    lifeline: int = how["lifeline"]
    os.set_inheritable(lifeline, False)
    with contextlib.suppress(OSError):
        os.nice(how["nice"])
    isolated = how["isolate"] and isolate()
    if how["isolate"] == "required" and not isolated:
        return 1
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return code_of(wait(start(how, isolated=isolated), lifeline, woken))


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
