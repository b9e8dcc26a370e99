"""Driving a network through a plan in stepped time: advance, act, let it become quiet, repeat.

Simulated time moves to the next event or timer only when the network is quiet. So outcomes do not
depend on which process was faster, and both buses come to the same end.
"""

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from bus.errors import EnvironmentFailed
from bus.host import Activity
from bus.identifiers import QueueKind
from bus.instants import DAY, Instant, instant_to_text
from ncb_nodes.order_port import pack_order, unpack_result
from ncb_nodes.orders import AnyOrder, IssueAmendment, IssueDiffusion
from simulation.abuses import AbuseTools, deeds_of
from simulation.networks.network import Network
from simulation.plan import Plan, Step
from simulation.scenario import Scenario

ROUNDS_PER_INSTANT_MAX: Final = 100
"""Rounds of ticks at one instant; a story that needs more goes round in circles."""


Activities = Mapping[str, Activity]
"""What each party counts, by party."""


class IssuedVersion(Struct, frozen=True):
    """Which version an order of the plan led to."""

    label: str
    number: int
    source: str
    record_id: str
    digest: bytes
    message_id: str


class InjectedOctets(Struct, frozen=True):
    """Which delivery an injection of the plan led to."""

    label: str
    source: str
    digest: bytes


class Told(Struct):
    """What driving the story brought to light for its reader: names for what was sent."""

    versions: list[IssuedVersion]
    injections: list[InjectedOctets]
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
        self._injections: list[InjectedOctets] = []
        self._numbers: dict[str, int] = {}
        self._away: dict[str, Instant] = {}

    async def tell(self) -> Told:
        """Carry the plan out, then settle until cases and retractions are closed."""
        now = self._plan.begins
        deadline = self._plan.ends + self._scenario.settle_days_max * DAY
        steps = list(self._plan.steps)
        while True:
            activities = await self._live_through(now, steps)
            due = self._next_instant(activities, steps)
            if due is None or due > deadline or self._is_over(activities, due, steps):
                return Told(self._versions, self._injections, now)
            now = max(due, now)
            self._progress(now)

    async def _live_through(self, now: Instant, steps: list[Step]) -> Activities:
        """Everything that happens at one instant, until time must pass for more.

        What timers caused has arrived everywhere before the plan's steps are taken, so that the
        two cannot overtake each other on one bus and not on the other.
        """
        for _ in range(ROUNDS_PER_INSTANT_MAX):
            await self._network.tick(now)
            await self._bring_back(now)
            activities = await self._quiet()
            if steps and steps[0].at <= now:
                while steps and steps[0].at <= now:
                    await self._take(steps.pop(0))
                activities = await self._quiet()
            if not _is_due(activities, now):
                return activities
        message = f"the story goes round in circles at {instant_to_text(now)}"
        raise EnvironmentFailed(message)

    async def _quiet(self, returning: frozenset[str] = frozenset()) -> Activities:
        return await self._network.quiet(frozenset(self._away), returning)

    def _next_instant(self, activities: Activities, steps: list[Step]) -> Instant | None:
        due = [each.next_due for each in activities.values() if each.next_due is not None]
        due += [steps[0].at] if steps else []
        due += list(self._away.values())
        return min(due, default=None)

    def _is_over(self, activities: Activities, due: Instant, steps: list[Step]) -> bool:
        """Whether the stated period is over and nothing is left to settle."""
        if steps or self._away or due <= self._plan.ends:
            return False
        return not any(activity.open_work for activity in activities.values())

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
                    await self._issue(step, deed.order)
                if deed.injection is not None:
                    await control.inject(deed.injection)
                    self._injections.append(
                        InjectedOctets(step.label, step.member, deed.injection.digest)
                    )
        elif step.order is not None:
            await self._issue(step, step.order)

    async def _issue(self, step: Step, order: AnyOrder) -> None:
        control = self._network.control(step.member)
        done = unpack_result(await control.issue(pack_order(order)))
        if done.message_id and isinstance(order, IssueDiffusion | IssueAmendment):
            number = self._numbers.get(order.label, 0) + 1
            self._numbers[order.label] = number
            self._versions.append(
                IssuedVersion(
                    order.label,
                    number,
                    step.member,
                    done.record_id,
                    done.digest,
                    done.message_id,
                )
            )


def _is_due(activities: Activities, now: Instant) -> bool:
    """Tell whether a party has more to do at this very instant, and can."""
    return any(
        activity.next_due is not None and activity.next_due <= now and not activity.parked
        for activity in activities.values()
    )
