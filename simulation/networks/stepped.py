"""Driving parties through their control ports in stepped time: tick all, let it become quiet.

It needs to know neither where the parties run nor who started them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from bus.errors import EnvironmentFailed
from bus.host import Activity
from bus.instants import Instant
from simulation.networks.counters import (
    Activities,
    to_reach,
    uncounted_queues,
    under_way,
    who_is_not_quiet,
)
from simulation.networks.network import ControlPort

quiet_seconds_max: Final = 60.0
"""Without any progress; as long as something moves, a network may take longer."""
catch_up_seconds: Final = 1.0
"""For one wait until a party has caught up; then all are asked again."""


class SteppedPort(ControlPort, Protocol):
    """The control port of a process, whose gate a runner opens and closes."""

    async def catch_up(self, settled: dict[str, int], wait_seconds: float) -> Activity:
        """Let things travel until so much is settled by queue, or time is up."""

    async def hold(self) -> Activity:
        """Finish what is in hand and let nothing travel any more."""

    async def close(self) -> None:
        """End the connection."""


class SteppedParties:
    """The control ports of all parties of a network."""

    def __init__(
        self, controls: Mapping[str, SteppedPort], *, seconds_max: float = quiet_seconds_max
    ) -> None:
        self.controls = controls
        self._seconds_max = seconds_max

    async def tick(self, now: Instant) -> None:
        """Let it be `now` everywhere; nothing travels until `quiet`."""
        await asyncio.gather(*(control.tick(now) for control in self.controls.values()))

    async def quiet(self, away: frozenset[str], data_only_away: frozenset[str]) -> Activities:
        """See `simulation.networks.network.Network`. Afterwards nothing travels any more."""
        uncounted = uncounted_queues(away, data_only_away)
        everybody: dict[str, dict[str, int]] = {party: {} for party in self.controls}
        loop = asyncio.get_running_loop()
        known: Activities = await self._catch_up(everybody)
        deadline = loop.time() + self._seconds_max
        while True:
            goals = to_reach(known, under_way(known, uncounted))
            if goals:
                latest: Activities = {**known, **await self._catch_up(goals)}
                if latest == known:
                    # Somebody else may have gone on: a dead letter is settled by another party.
                    latest = await self._catch_up(everybody)
            else:
                latest = await self._hold()
                if latest == known:
                    return latest
            if latest != known:
                deadline = loop.time() + self._seconds_max
            elif loop.time() > deadline:
                raise EnvironmentFailed(
                    f"the network did not become quiet in {self._seconds_max:.0f} s: "
                    + "; ".join(who_is_not_quiet(latest, uncounted))
                )
            known = latest

    async def _catch_up(self, goals: Mapping[str, Mapping[str, int]]) -> Activities:
        parties = sorted(goals)
        answers = await asyncio.gather(
            *(
                self.controls[party].catch_up(dict(goals[party]), catch_up_seconds)
                for party in parties
            )
        )
        return dict(zip(parties, answers, strict=True))

    async def _hold(self) -> Activities:
        parties: Sequence[str] = sorted(self.controls)
        answers = await asyncio.gather(*(self.controls[party].hold() for party in parties))
        return dict(zip(parties, answers, strict=True))

    async def close(self) -> None:
        """End the control connections; the parties go on."""
        await asyncio.gather(*(control.close() for control in self.controls.values()))
