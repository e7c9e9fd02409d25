"""How a command ends: its exit codes, and the one table from an error to its code.

The codes leave the low numbers to the command that `lockstream run` runs, as `timeout(1)`, `env(1)` and
`xargs(1)` do.
"""

from __future__ import annotations

import sys

from lockstream import (
    ConfigError,
    InvalidArgument,
    LockLost,
    LockstreamError,
    ServerUnavailable,
    WaitTimeout,
    WouldBlock,
)

USAGE = 2
LOST = 123
NOT_ACQUIRED = 124
FAILED = 125
CANNOT_RUN = 126
NOT_FOUND = 127
SIGNALLED = 128
"""Plus the number of the signal."""

HELP = """\b
Exit codes:
    2    the command line was not understood
  123    the lock was lost
  124    the lock was not acquired: it is taken, or --wait ran out
  125    no server answered, or it refused
"""

RUN_HELP = f"""{HELP}  126    COMMAND cannot be run
  127    COMMAND was not found
  128+N  signal N ended COMMAND, or ended the wait for the lock
 others  COMMAND's own
"""

_CODES: dict[type[LockstreamError], int] = {
    ConfigError: USAGE,
    InvalidArgument: USAGE,
    LockLost: LOST,
    WouldBlock: NOT_ACQUIRED,
    WaitTimeout: NOT_ACQUIRED,
}


class Exit(Exception):
    """Ends the program with a sentence on standard error and a code of this module."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def failure(error: LockstreamError, servers: str) -> Exit:
    """What to say, and the code to end with, when the client raised this."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)
    if isinstance(error, ServerUnavailable):
        return Exit(f"no server answers at {servers}: {error}", code)
    return Exit(str(error), code)


def say(sentence: str) -> None:
    """Tell the user something on standard error, in one line."""
    line = " ".join(sentence.split())
    sys.stderr.write(f"lockstream: {line}\n")
    sys.stderr.flush()
