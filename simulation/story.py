"""Driving a network through a plan in stepped time: advance, act, let it become quiet, repeat.

Simulated time moves to the next event or timer only when the network is quiet. So outcomes do not
depend on which process was faster, and both buses come to the same end.
"""

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from bus.errors import EnvironmentFailed
from bus.host import Activity
from bus.identifiers import SECRETARIAT, QueueKind
from bus.instants import DAY, Instant, instant_to_text
from ncb_nodes.order_port import pack_order, unpack_result
from simulation.abuses import AbuseTools, deeds_of
from simulation.network import Network
from simulation.scenario import Scenario
from simulation.workload import Plan, Step

ROUNDS_PER_INSTANT_MAX: Final = 100
"""Rounds of ticks at one instant; a story that needs more goes round in circles."""


class IssuedVersion(Struct, frozen=True):
    """Which version an order of the plan led to."""

    label: str
    number: int
    source: str
    record_id: str
    digest: bytes
    message_id: str


class Told(Struct):
    """What driving the story brought to light for its reader: names for records."""

    versions: list[IssuedVersion]
    ended_at: Instant


class Story:
    """One run of a plan over a network."""

    def __init__(
        self,
        scenario: Scenario,
        plan: Plan,
        network: Network,
        tools: AbuseTools,
        progress: Callable[[Instant], None],
    ) -> None:
        self._scenario = scenario
        self._plan = plan
        self._network = network
        self._tools = tools
        self._progress = progress
        self._versions: list[IssuedVersion] = []
        self._away: dict[str, Instant] = {}
        self._parties = (SECRETARIAT, *network.members)

    async def tell(self) -> Told:
        """Carry the plan out, then settle until cases and retractions are closed."""
        now = self._plan.begins
        deadline = self._plan.ends + self._scenario.settle_days_max * DAY
        steps = list(self._plan.steps)
        while True:
            await self._live_through(now, steps)
            due = await self._next_instant(steps)
            if due is None or due > deadline or await self._is_over(due, steps):
                return Told(self._versions, now)
            now = max(due, now)
            self._progress(now)

    async def _live_through(self, now: Instant, steps: list[Step]) -> None:
        """Everything that happens at one instant, until time must pass for more."""
        for _ in range(ROUNDS_PER_INSTANT_MAX):
            for party in self._parties:
                await self._network.control(party).tick(now)
            await self._bring_back(now)
            while steps and steps[0].at <= now:
                await self._take(steps.pop(0))
            await self._quiet()
            if not await self._is_due(now):
                return
        message = f"the story goes round in circles at {instant_to_text(now)}"
        raise EnvironmentFailed(message)

    async def _quiet(self, returning: frozenset[str] = frozenset()) -> None:
        await self._network.quiet(frozenset(self._away), returning)

    async def _activities(self) -> Mapping[str, Activity]:
        return {party: await self._network.control(party).activity() for party in self._parties}

    async def _is_due(self, now: Instant) -> bool:
        activities = await self._activities()
        return any(
            activity.next_due is not None and activity.next_due <= now and not activity.parked
            for activity in activities.values()
        )

    async def _next_instant(self, steps: list[Step]) -> Instant | None:
        due = [
            activity.next_due
            for activity in (await self._activities()).values()
            if activity.next_due is not None
        ]
        due += [steps[0].at] if steps else []
        due += list(self._away.values())
        return min(due, default=None)

    async def _is_over(self, due: Instant, steps: list[Step]) -> bool:
        """Whether the stated period is over and nothing is left to settle."""
        if steps or self._away or due <= self._plan.ends:
            return False
        return not any(activity.open_work for activity in (await self._activities()).values())

    async def _bring_back(self, now: Instant) -> None:
        """Members whose absence ends receive statements first, and data only after those."""
        back = sorted(member for member, until in self._away.items() if until <= now)
        if not back:
            return
        for member in back:
            del self._away[member]
            await self._network.control(member).subscribe((QueueKind.STATEMENTS,))
        await self._quiet(frozenset(back))
        for member in back:
            await self._network.control(member).subscribe((QueueKind.DATA,))
        await self._quiet()

    async def _take(self, step: Step) -> None:
        control = self._network.control(step.member)
        if step.away_until is not None:
            self._away[step.member] = step.away_until
            await control.go_away()
        elif step.abuse:
            for deed in deeds_of(step, self._tools):
                if deed.order is not None:
                    await self._issue(step, deed.order.label, pack_order(deed.order))
                if deed.injection is not None:
                    await control.inject(deed.injection)
        elif step.order is not None:
            await self._issue(step, step.label, pack_order(step.order))

    async def _issue(self, step: Step, label: str, packed: bytes) -> None:
        done = unpack_result(await self._network.control(step.member).issue(packed))
        earlier = [version for version in self._versions if version.label == label]
        if done.record_id and all(version.digest != done.digest for version in earlier):
            self._versions.append(
                IssuedVersion(
                    label,
                    len(earlier) + 1,
                    step.member,
                    done.record_id,
                    done.digest,
                    done.message_id,
                )
            )
