"""Statements of the secretariat on a record: the mark, the decision, blocks and measures.

The secretariat numbers its statements per record; of two with one number the more restrictive
counts and the pair is reported as equivocation.
"""

from enum import StrEnum

from bus.identifiers import NCBCode, Number, RecordId
from bus.messages.case_file import Text
from bus.messages.header import Closed, Header


class ReviewOutcome(StrEnum):
    """What a review decision says of one version."""

    VALIDATED = "validated"
    REJECTED = "rejected"


class Ground(StrEnum):
    """Why a version was rejected: Article 2, Article 3, or a named other ground."""

    ARTICLE_2 = "art2"
    ARTICLE_3 = "art3"
    REQUIRED_DATA_MISSING = "other:required_data_missing"
    WARRANT_MISSING = "other:warrant_missing"
    WARRANT_EXPIRED = "other:warrant_expired"
    PRIVATE_DISPUTE = "other:private_dispute"
    COOPERATION_CLOSED = "other:cooperation_closed"
    UNREADABLE = "other:unreadable"


class BlockReason(StrEnum):
    """Why a record is blocked or a version released."""

    REVIEW = "review"
    MEASURE = "measure"
    REPAIR = "repair"
    NEWCOMER = "newcomer"


class UseMode(StrEnum):
    """How a member may use the network while a corrective measure lasts."""

    DIRECT = "direct"
    REVIEWED_FIRST = "reviewed_first"
    THROUGH_SECRETARIAT = "through_secretariat"
    DISCONNECTED = "disconnected"


class MeasureBody(StrEnum):
    """Which body took a corrective measure."""

    GENERAL_SECRETARIAT = "general_secretariat"
    EXECUTIVE_COMMITTEE = "executive_committee"
    GENERAL_ASSEMBLY = "general_assembly"
    MEMBER_ITSELF = "member_itself"


class ReviewOpenedClaims(Closed, frozen=True):
    """The signed mark *pending review*."""

    number: Number
    case_id: RecordId


class ReviewDecisionClaims(Closed, frozen=True):
    """`ground` is set in the copy for the source alone: holders learn outcome and action."""

    number: Number
    outcome: ReviewOutcome
    ground: Ground | None


class NumberedClaims(Closed, frozen=True):
    """A numbered statement that needs no more."""

    number: Number


class BlockClaims(Closed, frozen=True):
    """A block applies to the record; only `unblock` lifts it."""

    number: Number
    reason: BlockReason


class CooperationClosedClaims(Closed, frozen=True):
    """Names the closed case by a random reference; never why, nor which state gave asylum."""

    reference: RecordId
    closed: bool


class CorrectiveMeasureClaims(Closed, frozen=True):
    """How `member` may use the network from now on, and who decided it."""

    number: Number
    member: NCBCode
    mode: UseMode
    taken_by: MeasureBody


class ReleaseClaims(Closed, frozen=True):
    """The standing of the record that is released along with the inner envelope."""

    number: Number
    outcome: ReviewOutcome | None
    blocked: bool
    reason: BlockReason


class ReasonsBody(Closed, frozen=True):
    """Reasons for the source; they never name a state of asylum."""

    article: Text
    reasons: Text


class ReviewOpened(Header, frozen=True, kw_only=True, tag="review_opened"):
    """Marks a version as pending review."""

    claims: ReviewOpenedClaims


class ReviewDecision(Header, frozen=True, kw_only=True, tag="review_decision"):
    """Decides on one version."""

    claims: ReviewDecisionClaims


class Block(Header, frozen=True, kw_only=True, tag="block"):
    """Hides a record provisionally."""

    claims: BlockClaims


class Unblock(Header, frozen=True, kw_only=True, tag="unblock"):
    """Lifts a block."""

    claims: NumberedClaims


class Addendum(Header, frozen=True, kw_only=True, tag="addendum"):
    """Adds a remark that holders must show with the record."""

    claims: NumberedClaims


class CooperationClosed(Header, frozen=True, kw_only=True, tag="cooperation_closed"):
    """No further co-operation through the network on a person and case."""

    claims: CooperationClosedClaims


class CorrectiveMeasure(Header, frozen=True, kw_only=True, tag="corrective_measure"):
    """Changes how a member may use the network."""

    claims: CorrectiveMeasureClaims


class Release(Header, frozen=True, kw_only=True, tag="release"):
    """Hands a version on with its original envelope and its standing."""

    claims: ReleaseClaims
