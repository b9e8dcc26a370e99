"""The abuse catalogue: what a tester can have a bureau do that it should not."""

from simulation.abuses.catalogue import (
    ABUSES,
    Abuse,
    abuse_named,
    check_abuses,
    deeds_of,
    is_octets_file,
)
from simulation.abuses.deeds import AbuseTools, Deed

__all__ = [
    "ABUSES",
    "Abuse",
    "AbuseTools",
    "Deed",
    "abuse_named",
    "check_abuses",
    "deeds_of",
    "is_octets_file",
]
