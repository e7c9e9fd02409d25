"""Programs of the traffic, each one process of a run.

`python -m tests.robustness.traffic client '{"name": "client-1", ...}'` with the fields of `client.Plan`;
`python -m tests.robustness.traffic registers '{"directory": ..., "port": ...}'`. Both run until SIGTERM.
`python -m tests.robustness.traffic crowd '{"target": ..., "sessions": 1000, "ttl": 10, "name": ...}'`, until SIGKILL.
"""

import asyncio
import json
import sys
from pathlib import Path

from tests.robustness.traffic import client, crowd, register


def main() -> None:
    """Run the program asked for."""
    program, options = sys.argv[1], json.loads(sys.argv[2])
    if "directory" in options:
        options["directory"] = Path(options["directory"])
    match program:
        case "client":
            asyncio.run(client.run(client.Plan(**options)))
        case "registers":
            asyncio.run(register.serve(**options))
        case "crowd":
            asyncio.run(crowd.run(**options))
        case _:
            sys.exit(f"there is no program {program!r}")


if __name__ == "__main__":
    main()
