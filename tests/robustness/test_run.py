"""A minute of faults of many kinds under traffic: every promise is kept."""

from pathlib import Path

import pytest

from tests.robustness.faults.consumers import CROWD
from tests.robustness.run import Settings, run
from tests.robustness.story import read
from tests.robustness.test_traffic import assert_not_vacuous

SECONDS = 60.0


@pytest.mark.timeout(300)
async def test_a_minute_of_mixed_faults_breaks_no_promise(tmp_path: Path) -> None:
    settings = Settings(directory=tmp_path, seed=1, seconds=SECONDS)
    result = await run(settings)
    assert result.violations == [], "\n".join(map(str, result.violations))
    assert_not_vacuous(read(tmp_path))
    assert sum(result.report.faults.values()) >= 8, result.report.table()
    assert len(result.report.faults) >= 6, result.report.table()
    assert result.report.sessions > CROWD / 2, "a crowd of them ended at once"
    assert result.report.finished > 0, "clients were looked at for tasks that are left"
    assert result.report.waits_healed > 20
    healed = result.report.granted_after_healing_p99
    assert healed is not None
    assert healed < settings.ttl + 2
