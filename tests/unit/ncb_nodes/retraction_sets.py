"""Retraction sets as the secretariat would chain them, for bureaus under test."""

from collections.abc import Sequence

from bus.identifiers import SECRETARIAT
from bus.instants import Instant
from bus.messages.retraction import RecordReference, RetractionSet, RetractionSetClaims
from bus.retraction_sets import FIRST_HASH, running_hash
from bus.statements import IssuedStatement
from tests.factories import NOW, issued, version_of


def reference(of: IssuedStatement) -> RecordReference:
    """Return a record without its version."""
    record = version_of(of)
    return RecordReference(record.source, record.record_id)


class SetChain:
    """Issues the sets to one member, each chained to the one before."""

    def __init__(self, member: str = "XB") -> None:
        self.member = member
        self.number = 0
        self.hash = FIRST_HASH

    def next(
        self,
        *ended: RecordReference,
        blocked: Sequence[RecordReference] = (),
        full: bool = False,
        last_page: bool = True,
        now: Instant = NOW,
    ) -> IssuedStatement:
        """Return the next set."""
        previous, self.number = self.number, self.number + 1
        self.hash = running_hash(self.hash, self.number, ended, blocked, ())
        claims = RetractionSetClaims(
            number=self.number,
            previous_number=previous,
            full=full,
            last_page=last_page,
            ended=list(ended),
            blocked=list(blocked),
            revoked_keys=[],
            running_hash=self.hash,
        )
        return issued(
            RetractionSet, SECRETARIAT, (self.member,), claims, subject=f"{self.number}", now=now
        )
