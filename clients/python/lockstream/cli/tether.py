"""Becomes a command that does not outlive the process that started it.

`python tether.py PARENT_PID COMMAND...`: on Linux the kernel kills the command when its parent is gone, so that a
`lockstream run` which is killed does not leave a command running without its lock.

It is a program, not a `preexec_fn`, because running Python between fork and exec is unsafe in a process with
threads, which every process that uses gRPC has. It needs nothing but the standard library.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Tie this process to its parent and become the command; the exit codes are those of `lockstream run`."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"lockstream: prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the request was made
        sys.exit("lockstream: the parent process is gone")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, which the command would inherit
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # suspended with Ctrl-Z it would lose its lock
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"lockstream: cannot run {command[0]!r}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
