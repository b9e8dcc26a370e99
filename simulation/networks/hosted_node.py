"""A bureau whose conduct is a profile's: ``python -m simulation.networks.hosted_node``.

It is the ordinary bureau's process with another conduct handed in; the runner starts it only for
members that a scenario gives a profile. What it does against its word it confesses to a file.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bus.control.served_party import PartyWork
from bus.identifiers import Role
from bus.participant import Duties
from bus.process import Program, run
from ncb_nodes.duties import BureauDuties
from ncb_nodes.process import WORK, NodeSettings
from simulation.profiles import FileLedger, conduct_of


class HostedNodeSettings(NodeSettings, frozen=True, kw_only=True):
    """What the process is told: beside a bureau's settings, the profile and where it confesses."""

    profile: str
    ledger: Path


def _compose(settings: HostedNodeSettings) -> tuple[Duties, PartyWork]:
    conduct = conduct_of(settings.profile, settings.party, FileLedger(settings.ledger))
    return BureauDuties(settings.policy, conduct), WORK


PROGRAM: Final = Program("simulation.networks.hosted_node", Role.NCB, HostedNodeSettings, _compose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bureau until it is asked to end; return the exit code."""
    return run(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
