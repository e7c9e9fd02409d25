"""Programs of the traffic, each one process of a run.

`python -m tests.robustness.traffic client '{"name": "client-1", ...}'` with the fields of `client.Plan`;
`python -m tests.robustness.traffic registers '{"directory": ..., "port": ...}'`. Both run until SIGTERM.
"""

import asyncio
import json
import sys
from pathlib import Path

from tests.robustness.traffic.client import Plan, run
from tests.robustness.traffic.register import serve


def main() -> None:
    """Run the program asked for."""
    program, options = sys.argv[1], json.loads(sys.argv[2])
    options["directory"] = Path(options["directory"])
    asyncio.run(run(Plan(**options)) if program == "client" else serve(**options))


if __name__ == "__main__":
    main()
