"""One small run for all tests that look at what a run leaves behind."""

import pytest

from tests.unit.simulation.small_run import SmallRun, run_story


@pytest.fixture(scope="session")
def small_run() -> SmallRun:
    """What a faithful network left behind; tests tamper with copies of it."""
    return run_story()
