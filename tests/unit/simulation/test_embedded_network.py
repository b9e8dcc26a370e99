"""What the embedded network keeps in the memory that all its parties share."""

import pytest

from bus.verification import EnvelopeCache
from tests.unit.simulation.small_run import run_story


def test_no_opened_envelope_outlives_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parties share opened envelopes, and these are gone before time goes on."""
    kept_at_ticks: list[int] = []
    shared: list[EnvelopeCache] = []

    class Watched(EnvelopeCache):
        """Remembers how much was kept before it was cleared."""

        def __init__(self) -> None:
            super().__init__()
            shared.append(self)

        def clear(self) -> None:
            kept_at_ticks.append(len(self))
            super().clear()

    monkeypatch.setattr("simulation.networks.embedded.EnvelopeCache", Watched)
    run_story()
    [cache] = shared
    assert len(cache) == 0
    assert max(kept_at_ticks) > 0
    assert kept_at_ticks[-1] == 0, "nothing was left for the network's end to clear"
