"""Statements on who takes part and whose keys count, and of the Commission."""

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from bus.identifiers import Count, Digest, NCBCode, Number, ZoneCode
from bus.messages.header import ADDRESSEES_MAX, Closed, Header

CERTIFICATES_MAX: Final = 256


class RevocationReason(StrEnum):
    """Why a key no longer counts."""

    STOLEN = "stolen"
    SUPERSEDED = "superseded"
    MEMBER_LEFT = "member_left"


class CommissionAction(StrEnum):
    """What the Commission orders; its decisions bind the organisation."""

    DELETE = "delete"
    BLOCK = "block"
    UNBLOCK = "unblock"
    ADDENDUM = "addendum"
    NONE = "none"


class CommissionRequestKind(StrEnum):
    """What a person may ask the Commission for."""

    ACCESS = "access"
    DELETION = "deletion"
    REVISION = "revision"


class MembershipClaims(Closed, frozen=True):
    """The members in force from this number on. `sealed` demands sealed bodies."""

    number: Number
    members: Annotated[list[NCBCode], Meta(min_length=1, max_length=ADDRESSEES_MAX)]
    zones: dict[ZoneCode, list[NCBCode]]
    sealed: bool


class KeyAnnouncementClaims(Closed, frozen=True):
    """How many certificates the body carries."""

    number: Number
    certificates: Count


class CertificatesBody(Closed, frozen=True):
    """X.509 leaves in DER form; each is checked against the network's root."""

    certificates: Annotated[list[bytes], Meta(min_length=1, max_length=CERTIFICATES_MAX)]


class KeyRevocationClaims(Closed, frozen=True):
    """`log_position` is the secretariat's log position up to which statements were logged."""

    number: Number
    key: Digest
    log_position: Count
    reason: RevocationReason


class RecipientKeyClaims(Closed, frozen=True):
    """The X25519 public key to which bodies are sealed for one epoch."""

    epoch: Count
    public_key: Digest


class CommissionRequestClaims(Closed, frozen=True):
    """What is asked for; person and reasons are in the body."""

    kind: CommissionRequestKind


class CommissionDecisionClaims(Closed, frozen=True):
    """The Commission numbers its own statements on a record."""

    number: Number
    action: CommissionAction


class Membership(Header, frozen=True, kw_only=True, tag="membership"):
    """Who takes part."""

    claims: MembershipClaims


class KeyAnnouncement(Header, frozen=True, kw_only=True, tag="key_announcement"):
    """Whose keys count."""

    claims: KeyAnnouncementClaims


class KeyRevocation(Header, frozen=True, kw_only=True, tag="key_revocation"):
    """Which key counts no longer."""

    claims: KeyRevocationClaims


class RecipientKey(Header, frozen=True, kw_only=True, tag="recipient_key"):
    """Signed by the recipient itself."""

    claims: RecipientKeyClaims


class CCFRequest(Header, frozen=True, kw_only=True, tag="ccf_request"):
    """A person's request, as it reaches the Commission."""

    claims: CommissionRequestClaims


class CCFDecision(Header, frozen=True, kw_only=True, tag="ccf_decision"):
    """The Commission's decision; nodes verify it directly."""

    claims: CommissionDecisionClaims
