"""The command `lockstream`: hold locks from a shell, and look at who holds what.

`main` is its entry point. Exit codes are those of `timeout(1)` and its like; see `exits`.
"""

from lockstream.cli.app import main

__all__ = ["main"]
