"""Bureaus that do not do what they say, and the private ledger of what they actually did."""

from simulation.profiles.conducts import PROFILES, conduct_of
from simulation.profiles.ledger import (
    Deviation,
    DeviationKind,
    DeviationLedger,
    FileLedger,
    MemoryLedger,
)

__all__ = [
    "PROFILES",
    "Deviation",
    "DeviationKind",
    "DeviationLedger",
    "FileLedger",
    "MemoryLedger",
    "conduct_of",
]
