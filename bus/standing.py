"""What a record is, computed from the verified statements about it.

The standing is a fold over a *set* of statements: whatever the order of arrival, the same set
gives the same standing. Every field only ever moves one way (a flag that is set stays set; a
number is replaced by a higher one; of two statements with one number the more restrictive counts),
which is what makes the order irrelevant.

1. A `delete` retraction or the source's withdrawal ends the record, for all versions.
2. Block and unblock apply to the record; the highest number wins.
3. Per version the highest-numbered decision that names it counts.
4. In force is the version with the highest-numbered standing validation.
5. The Commission numbers its own statements, and nothing of the secretariat undoes them.
6. Of two statements with one number the more restrictive counts.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from bus.messages import alerts, authority, retraction, review
from bus.messages.authority import CommissionAction
from bus.messages.header import Header
from bus.messages.retraction import RetractionAction
from bus.messages.review import ReviewOutcome


class Ending(StrEnum):
    """What ended a record. Where several did, the first of this list is named."""

    COMMISSION = "commission"
    RETRACTION = "retraction"
    WITHDRAWAL = "withdrawal"


class RecordState(StrEnum):
    """How one version stands, as a person is shown it."""

    UNREGISTERED = "unregistered"
    """No review mark has come: the secretariat may not know of it."""
    PENDING_REVIEW = "pending_review"
    VALIDATED = "validated"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    BLOCKED = "blocked"
    DELETED = "deleted"


class VersionStanding(Struct, frozen=True, gc=False):
    """One version. `known` tells that the statement that carries it has arrived.

    Numbers are the secretariat's on this record; 0 means that there was none.
    """

    known: bool = False
    replaces: bytes | None = None
    review_number: int = 0
    decision_number: int = 0
    outcome: ReviewOutcome | None = None


class Standing(Struct, frozen=True):
    """One record, with the versions that statements have named so far."""

    ending: Ending | None = None
    block_number: int = 0
    blocked: bool = False
    commission_number: int = 0
    commission_blocked: bool = False
    versions: Mapping[bytes, VersionStanding] = {}

    @property
    def ended(self) -> bool:
        """Whether the record is over: a tombstone for all versions, known or still to come."""
        return self.ending is not None

    @property
    def is_blocked(self) -> bool:
        """Whether secretariat or Commission hide the record at present."""
        return self.blocked or self.commission_blocked

    def in_force(self) -> bytes | None:
        """Return the digest of the version in force, if any (rule 4).

        It may not have come yet: what it replaced is superseded all the same.
        """
        if self.ended:
            return None
        validated = (
            (version.decision_number, digest)
            for digest, version in self.versions.items()
            if version.outcome is ReviewOutcome.VALIDATED
        )
        return max(validated, default=(0, None))[1]

    def state_of(self, digest: bytes) -> RecordState:
        """Return how one version stands."""
        version = self.versions.get(digest, VersionStanding())
        if self.ended:
            return RecordState.DELETED
        if version.outcome is ReviewOutcome.REJECTED:
            return RecordState.REJECTED
        if self.is_blocked:
            return RecordState.BLOCKED
        if version.outcome is ReviewOutcome.VALIDATED:
            in_force = self.in_force() == digest
            return RecordState.VALIDATED if in_force else RecordState.SUPERSEDED
        marked = version.review_number > 0
        return RecordState.PENDING_REVIEW if marked else RecordState.UNREGISTERED


NOTHING_KNOWN = Standing()


def fold(
    standing: Standing, statement: Header, digest: bytes, replacement: bytes | None = None
) -> Standing:
    """Return the standing after one more verified statement about the record.

    `digest` is the statement's own. `replacement` is the digest of the readable version that an
    update retraction carries; without one such a retraction ends the record.
    """
    match statement:
        case alerts.Diffusion() | alerts.Amendment() | alerts.NoticeRequest() | alerts.Notice():
            replaces = statement.record.statement_digest if statement.record else None
            return _with_version(standing, digest, known=True, replaces=replaces)
        case alerts.Withdrawal():
            return _ended(standing, Ending.WITHDRAWAL)
        case review.ReviewOpened(claims=claims):
            return _marked(standing, _named(statement), claims.number)
        case review.ReviewDecision(claims=claims):
            return _decided(standing, _named(statement), claims.number, claims.outcome)
        case review.Block(claims=claims):
            return _blocked(standing, claims.number, blocked=True)
        case review.Unblock(claims=claims):
            return _blocked(standing, claims.number, blocked=False)
        case retraction.Retraction(claims=claims):
            return _retracted(standing, statement, claims, replacement)
        case authority.CCFDecision(claims=claims):
            return _commission(standing, claims)
        case _:
            return standing


def _named(statement: Header) -> bytes:
    """Return the version that a statement names; the catalogue guarantees that there is one."""
    if statement.record is None or statement.record.statement_digest is None:
        message = f"{type(statement).__name__} names no version"
        raise ValueError(message)
    return statement.record.statement_digest


def _with_version(
    standing: Standing, digest: bytes, *, known: bool, replaces: bytes | None
) -> Standing:
    version = standing.versions.get(digest, VersionStanding())
    return _put(
        standing,
        digest,
        replace(version, known=version.known or known, replaces=version.replaces or replaces),
    )


def _put(standing: Standing, digest: bytes, version: VersionStanding) -> Standing:
    if standing.versions.get(digest) == version:
        return standing
    return replace(standing, versions={**standing.versions, digest: version})


def _ended(standing: Standing, ending: Ending) -> Standing:
    order = list(Ending)
    if standing.ending is not None and order.index(standing.ending) <= order.index(ending):
        return standing
    return replace(standing, ending=ending)


def _marked(standing: Standing, digest: bytes, number: int) -> Standing:
    version = standing.versions.get(digest, VersionStanding())
    if number <= version.review_number:
        return standing
    return _put(standing, digest, replace(version, review_number=number))


def _decided(standing: Standing, digest: bytes, number: int, outcome: ReviewOutcome) -> Standing:
    version = standing.versions.get(digest, VersionStanding())
    if number < version.decision_number:
        return standing
    if number == version.decision_number and outcome is not version.outcome:
        outcome = ReviewOutcome.REJECTED
    return _put(standing, digest, replace(version, decision_number=number, outcome=outcome))


def _blocked(standing: Standing, number: int, *, blocked: bool) -> Standing:
    if number < standing.block_number:
        return standing
    if number == standing.block_number and blocked != standing.blocked:
        return replace(standing, blocked=True)
    return replace(standing, block_number=number, blocked=blocked)


def _retracted(
    standing: Standing,
    statement: Header,
    claims: retraction.RetractionClaims,
    replacement: bytes | None,
) -> Standing:
    if claims.action is RetractionAction.DELETE or replacement is None:
        return _ended(standing, Ending.RETRACTION)
    standing = _decided(standing, _named(statement), claims.number, ReviewOutcome.REJECTED)
    return _decided(standing, replacement, claims.number, ReviewOutcome.VALIDATED)


def _commission(standing: Standing, claims: authority.CommissionDecisionClaims) -> Standing:
    if claims.action is CommissionAction.DELETE:
        return _ended(standing, Ending.COMMISSION)
    if claims.action not in (CommissionAction.BLOCK, CommissionAction.UNBLOCK):
        return standing
    blocked = claims.action is CommissionAction.BLOCK
    if claims.number < standing.commission_number:
        return standing
    if claims.number == standing.commission_number and blocked != standing.commission_blocked:
        return replace(standing, commission_blocked=True)
    return replace(standing, commission_number=claims.number, commission_blocked=blocked)
