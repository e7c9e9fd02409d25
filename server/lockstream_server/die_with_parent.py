"""Run a command that does not outlive the process that started it, however that ends.

`python die_with_parent.py kernel|pipe PARENT_PID COMMAND...`

- `kernel` (Linux): asks the kernel for SIGKILL on the parent's death and becomes COMMAND, keeping
  the process id; the request survives `exec`.
- `pipe` (anywhere, and for a COMMAND that is a script, whose children the kernel would not kill):
  stays beside COMMAND and kills the process group when standard input, which the parent holds open,
  ends. It must lead its process group. SIGTERM is passed on.

It is a program, not a `preexec_fn`, because running Python between fork and exec is unsafe in a
process with threads. It needs nothing but the standard library.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def _become(parent: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the request was made
        sys.exit("the parent process is gone")
    os.execvp(command[0], command)


def _watch(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())

    def kill_when_orphaned() -> None:
        # Not `sys.stdin`: its lock is held while reading, and interpreter shutdown wants it.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=kill_when_orphaned, daemon=True).start()
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    if sys.argv[1] == "kernel":
        _become(int(sys.argv[2]), sys.argv[3:])
    sys.exit(_watch(sys.argv[3:]))
