"""The process of one bureau: its settings, and what it is composed of."""

from collections.abc import Sequence
from typing import Final

from bus.control.served_party import PartyWork
from bus.identifiers import Role
from bus.participant import Duties
from bus.process import Program, run
from bus.settings import ProcessSettings
from ncb_nodes.duties import BureauDuties
from ncb_nodes.order_port import take_order
from ncb_nodes.receiving_policy import ReceivingPolicy

WORK: Final = PartyWork(take_order)


class NodeSettings(ProcessSettings, frozen=True, kw_only=True):
    """What a bureau's process is told: beside the usual, the policy that the bureau declares."""

    policy: ReceivingPolicy = ReceivingPolicy()


def _compose(settings: NodeSettings) -> tuple[Duties, PartyWork]:
    return BureauDuties(settings.policy), WORK


PROGRAM: Final = Program("ncb_nodes", Role.NCB, NodeSettings, _compose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a bureau until it is asked to end; return the exit code."""
    return run(PROGRAM, arguments)
