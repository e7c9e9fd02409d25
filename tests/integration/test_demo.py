"""`make demo`: what a newcomer sees first, and that nothing of it stays behind."""

import subprocess
import sys
from pathlib import Path

from tests.support.processes import ChildProcess, wait_until

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "deploy.demo")
PATIENCE = 30.0


def children(pid: int) -> list[int]:
    """The processes that descend from this one."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [descendant for child in found for descendant in children(child)]


def test_the_demo_shows_turns_a_handover_and_a_loss() -> None:
    done = subprocess.run(
        DEMO, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for shown in ("holds it, token", "after the kill", "LockLost: ", "lockstreamd --dev", "grpcurl"):
        assert shown in done.stdout


def test_a_killed_demo_leaves_nothing_running(tmp_path: Path) -> None:
    with ChildProcess(DEMO, log=tmp_path / "log", cwd=ROOT) as demo:
        demo.wait_until(lambda: "holds it" in demo.log_text(), timeout=PATIENCE, what="the demo's first grant")
        left = children(demo.pid)
        assert len(left) == 5  # lockstreamd, its etcd, three workers
        demo.kill()
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), timeout=PATIENCE, what="all are gone"
        )
