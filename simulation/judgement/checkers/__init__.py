"""The ten guarantees, each judged by one pure function over the evidence.

Checkers never know who is hostile. They see what stores, queues and the run's own certificates
say, and not what a hostile bureau confessed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from simulation.judgement.checkers import (
    acts_as_declared,
    effects_once,
    every_diffusion_decided,
    no_residue,
    no_resurrection,
    nothing_at_non_addressees,
    nothing_lost,
    only_verified_records,
    receipts_match_stores,
    retraction_complete,
)
from simulation.judgement.checkers.finding import Checker, CheckerResult, Violation

__all__ = ["CHECKERS", "Checker", "CheckerResult", "Violation"]

_IN_ORDER: Final = (
    only_verified_records,
    nothing_lost,
    nothing_at_non_addressees,
    every_diffusion_decided,
    acts_as_declared,
    retraction_complete,
    no_resurrection,
    receipts_match_stores,
    no_residue,
    effects_once,
)

CHECKERS: Final[Mapping[str, Checker]] = MappingProxyType(
    {module.NAME: module.check for module in _IN_ORDER}
)
"""Every checker by its name, in the order of the design."""
