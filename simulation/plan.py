"""What a run will do and what is true about it: plain values, made by `simulation.workload`."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from bus.instants import Instant
from ncb_nodes.orders import AnyOrder
from simulation.canaries import Canaries
from simulation.scenario import Defect


class Truth(Struct, frozen=True):
    """What the run knows of an alert and its parties do not."""

    label: str
    source: str
    subject: str
    defect: Defect
    at: Instant


class Step(Struct, frozen=True):
    """Something that a member is told to do at an instant."""

    at: Instant
    member: str
    label: str
    order: AnyOrder | None = None
    away_until: Instant | None = None
    abuse: str = ""
    of: str = ""
    to: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """All that will happen in a run, in order, with the truth about it."""

    begins: Instant
    ends: Instant
    steps: Sequence[Step]
    truths: Mapping[str, Truth]
    refugees: Mapping[str, list[str]]
    matching_key: bytes
    canaries: Canaries
