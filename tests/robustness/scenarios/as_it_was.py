"""With its defect put back, a scenario fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

Defect = Callable[[pytest.MonkeyPatch], None]
"""Makes the code what it was before the fix, in the smallest piece that will do."""


@contextmanager
def as_it_was(defect: Defect, complaint: str, *, harmless: bool = False) -> Iterator[None]:
    """Within the block the defect is back: the scenario that is run there must fail, with this complaint.

    Args:
        defect: what it was.
        complaint: a regular expression, found in what the scenario says when it fails.
        harmless: the scenario is run where the defect does no harm, such as on another etcd: it must pass.
    """
    with pytest.MonkeyPatch.context() as patch:
        defect(patch)
        if harmless:
            yield
        else:
            with pytest.raises((AssertionError, TimeoutError), match=complaint):
                yield
