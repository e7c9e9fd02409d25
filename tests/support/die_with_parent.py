"""Run a command that the kernel kills when the process that started it is gone.

`python die_with_parent.py PARENT_PID COMMAND...` asks the kernel for SIGKILL on its parent's death,
and then becomes COMMAND, keeping its process id. The request survives `exec`, and is honoured also
when the parent is killed with SIGKILL or this process is stopped with SIGSTOP.

It is a program, not a `preexec_fn`, because running Python between fork and exec is unsafe in a
process with threads, which every process that has used gRPC is.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Bind this process to its parent and become the command given."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the request was made
        sys.exit("the parent process is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
