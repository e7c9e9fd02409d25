"""Run the process of a crowd: `python -m tests.robustness.scale PLAN`, the plan being JSON."""

import json
import sys

import uvloop

from tests.robustness.scale.process import Plan, run

if __name__ == "__main__":
    uvloop.run(run(Plan(**json.loads(sys.argv[1]))))
