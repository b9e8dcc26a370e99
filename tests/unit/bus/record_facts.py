"""Statements about one record as the fold sees them, with numbers that collide on purpose."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from bus.messages.authority import CommissionAction
from bus.messages.header import Header
from bus.messages.review import ReviewOutcome
from bus.standing import NOTHING_KNOWN, Standing, fold
from bus.statements import IssuedStatement
from tests.factories import (
    amendment,
    block,
    commission_decision,
    decision,
    diffusion,
    retraction,
    review_opened,
    unblock,
    withdrawal,
)

FIRST: Final = diffusion()
SECOND: Final = amendment(FIRST)
THIRD: Final = amendment(SECOND, "amended again")
VERSIONS: Final = (FIRST, SECOND, THIRD)


class Fact(Struct, frozen=True):
    """One statement as the fold sees it; `replacement` is the readable version that it carries."""

    statement: Header
    digest: bytes
    replacement: bytes | None = None


def fact(said: IssuedStatement, replaced_by: IssuedStatement | None = None) -> Fact:
    """Return a statement ready to be folded."""
    return Fact(said.statement, said.digest, replaced_by.digest if replaced_by else None)


def folded(facts: Iterable[Fact]) -> Standing:
    """Fold facts in the order given."""
    standing = NOTHING_KNOWN
    for each in facts:
        standing = fold(standing, each.statement, each.digest, each.replacement)
    return standing


NUMBERS: Final = range(1, 5)


def pool() -> list[Fact]:
    """Return every statement about the record, with numbers that collide on purpose."""
    said = [*VERSIONS, withdrawal(FIRST), withdrawal(SECOND)]
    for number in NUMBERS:
        said += [make(FIRST, number) for make in (block, unblock)]
        said += [
            commission_decision(FIRST, number, action)
            for action in (CommissionAction.BLOCK, CommissionAction.UNBLOCK)
        ]
        for version in VERSIONS:
            said.append(review_opened(version, number))
            said += [decision(version, number, outcome) for outcome in ReviewOutcome]
    said += [retraction(FIRST), commission_decision(FIRST, 1, CommissionAction.DELETE)]
    updates = [
        fact(retraction(old, number, replaced_by=new), new)
        for number in NUMBERS
        for old, new in ((FIRST, SECOND), (SECOND, THIRD))
    ]
    unreadable = fact(retraction(THIRD, 2, replaced_by=FIRST))
    return [*map(fact, said), *updates, unreadable]


POOL: Final = pool()
ENDINGS: Final = [each for each in POOL if folded([each]).ended]
LIVING: Final = [each for each in POOL if each not in ENDINGS]
