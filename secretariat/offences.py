"""The offence list that screening knows.

A shortened, fictional stand-in for the lists and repositories of practice that the real
secretariat keeps. A code says what the source *calls* the offence; predominance is judged case by
case in reality, by people (resolution AGN/20/RES/11).
"""

from enum import StrEnum
from typing import Final


class Character(StrEnum):
    """What predominates in an offence."""

    ORDINARY_LAW = "ordinary_law"
    POLITICAL = "political"
    MILITARY = "military"
    RELIGIOUS = "religious"
    RACIAL = "racial"
    PRIVATE_DISPUTE = "private_dispute"


OFFENCES: Final[dict[str, Character]] = {
    "murder": Character.ORDINARY_LAW,
    "armed_robbery": Character.ORDINARY_LAW,
    "human_trafficking": Character.ORDINARY_LAW,
    "drug_trafficking": Character.ORDINARY_LAW,
    "money_laundering": Character.ORDINARY_LAW,
    "aggravated_fraud": Character.ORDINARY_LAW,
    "cybercrime": Character.ORDINARY_LAW,
    "car_theft_ring": Character.ORDINARY_LAW,
    "insult_of_head_of_state": Character.POLITICAL,
    "membership_of_banned_party": Character.POLITICAL,
    "unauthorised_assembly": Character.POLITICAL,
    "desertion": Character.MILITARY,
    "draft_evasion": Character.MILITARY,
    "apostasy": Character.RELIGIOUS,
    "unregistered_worship": Character.RELIGIOUS,
    "separatist_culture": Character.RACIAL,
    "unpaid_debt": Character.PRIVATE_DISPUTE,
    "unfunded_cheque": Character.PRIVATE_DISPUTE,
    "custody_dispute": Character.PRIVATE_DISPUTE,
}


def character_of(code: str) -> Character:
    """Return what predominates; a code that is not listed counts as ordinary law."""
    return OFFENCES.get(code, Character.ORDINARY_LAW)
