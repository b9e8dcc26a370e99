"""Statements by which data are taken back, and by which it is said that they are gone."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from bus.identifiers import Count, Digest, Number, PartyCode, RecordId, TimestampText
from bus.messages.header import Closed, Header

SET_ENTRIES_MAX: Final = 500
"""Records on one page of a retraction set."""


class RetractionAction(StrEnum):
    """What a holder is told to do."""

    DELETE = "delete"
    UPDATE = "update"


class RetractionOutcome(StrEnum):
    """What a holder says it did; a receipt proves this claim, not the absence of a copy."""

    DELETED = "deleted"
    UPDATED = "updated"
    NOT_HELD = "not_held"
    DECLINED = "declined"


DISCHARGING: Final[Mapping[RetractionAction, frozenset[RetractionOutcome]]] = {
    RetractionAction.DELETE: frozenset({RetractionOutcome.DELETED, RetractionOutcome.NOT_HELD}),
    RetractionAction.UPDATE: frozenset(
        {RetractionOutcome.UPDATED, RetractionOutcome.DELETED, RetractionOutcome.NOT_HELD}
    ),
}
"""Which answers discharge a holder, by what it was told to do."""


class DeclineReason(StrEnum):
    """Why a bureau will not erase; domestic law governs the national copy."""

    NATIONAL_LAW = "national_law"
    NATIONAL_PROCEEDINGS = "national_proceedings"


class RetractionClaims(Closed, frozen=True):
    """`deadline` is when a silent holder is named overdue."""

    number: Number
    action: RetractionAction
    deadline: TimestampText


class RetractionReceiptClaims(Closed, frozen=True):
    """`number` is that of the retraction answered."""

    number: Number
    outcome: RetractionOutcome
    reason: DeclineReason | None


class RecordReference(Closed, frozen=True):
    """A record without a version."""

    source: PartyCode
    record_id: RecordId


Entries = Annotated[list[RecordReference], Meta(max_length=SET_ENTRIES_MAX)]


class RetractionSetClaims(Closed, frozen=True):
    """What has ended, is blocked or is revoked, as a numbered delta for one member.

    With `full` the lists hold everything since the beginning. An idle period carries empty lists:
    the heartbeat. `running_hash` chains every delta sent to this member.
    """

    number: Number
    previous_number: Count
    full: bool
    last_page: bool
    ended: Entries
    blocked: Entries
    revoked_keys: Annotated[list[Digest], Meta(max_length=SET_ENTRIES_MAX)]
    running_hash: Digest


class RetractionSetRequestClaims(Closed, frozen=True):
    """The number that the asking member has reached."""

    have_number: Count


class HoldingsRequestClaims(Closed, frozen=True):
    """Asks what of a range of digests is held."""

    campaign: RecordId
    first: Digest
    last: Digest


class HoldingsStatementClaims(Closed, frozen=True):
    """How many versions of the range are held, and the hash over their sorted digests."""

    campaign: RecordId
    first: Digest
    last: Digest
    held: Count
    range_hash: Digest


class Retraction(Header, frozen=True, kw_only=True, tag="retraction"):
    """Tells a holder to delete or update. An update carries the replacing version's envelope."""

    claims: RetractionClaims

    @property
    def ends_at_addressees_alone(self) -> bool:
        """Whether it takes the record from its addressees, while the record lives on elsewhere.

        It is an update for holders to whom the source did not address the version in force.
        """
        updates = self.claims.action is RetractionAction.UPDATE
        return updates and self.body_commitment is None


class RetractionReceipt(Header, frozen=True, kw_only=True, tag="retraction_receipt"):
    """A holder's signed answer to a retraction."""

    claims: RetractionReceiptClaims


class RetractionSet(Header, frozen=True, kw_only=True, tag="retraction_set"):
    """Keeps a member from trusting what was taken back while it was away."""

    claims: RetractionSetClaims


class RetractionSetRequest(Header, frozen=True, kw_only=True, tag="retraction_set_request"):
    """Asks for the deltas after a number."""

    claims: RetractionSetRequestClaims


class HoldingsRequest(Header, frozen=True, kw_only=True, tag="holdings_request"):
    """Opens one comparison of a reconciliation campaign."""

    claims: HoldingsRequestClaims


class HoldingsStatement(Header, frozen=True, kw_only=True, tag="holdings_statement"):
    """A member's signed answer to a comparison."""

    claims: HoldingsStatementClaims
