"""Builders with defaults that a test overrides: parties, statements, deliveries and whole nodes.

The cast is small and fixed: members XA to XD, the secretariat, the Commission and the authority.
Keys are made once per session; whatever a test compares is keyed by the seed below.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from bus.announcements import opening_statements
from bus.envelope import (
    Attachment,
    Signature,
    SignedEnvelope,
    pack,
    pre_authentication_encoding,
)
from bus.identifiers import AUTHORITY, COMMISSION, SECRETARIAT, IdentifierSource
from bus.instants import DAY, Instant, instant_from_text, instant_to_text
from bus.messages.alerts import (
    AlertClaims,
    Amendment,
    Colour,
    Diffusion,
    Withdrawal,
    WithdrawalClaims,
    WithdrawalReason,
)
from bus.messages.authority import CCFDecision, CommissionAction, CommissionDecisionClaims
from bus.messages.case_file import CaseFile, Offence, Person, SubjectStatus, Warrant
from bus.messages.correspondence import EnvelopeBody, Message, NoClaims, TextBody
from bus.messages.header import Closed, Header, Version
from bus.messages.retraction import Retraction, RetractionAction, RetractionClaims
from bus.messages.review import (
    Block,
    BlockClaims,
    BlockReason,
    NumberedClaims,
    ReviewDecision,
    ReviewDecisionClaims,
    ReviewOpened,
    ReviewOpenedClaims,
    ReviewOutcome,
    Unblock,
)
from bus.participant import Duties, Identity, Participant
from bus.pki.certificates import key_id_of, verify_leaf
from bus.pki.keystore import MemoryPki, create_memory_pki
from bus.ports import Delivery
from bus.registry import Registry, first_registry
from bus.statements import Draft, IssuedStatement, Signer, sign
from ncb_nodes.conduct import Conduct
from ncb_nodes.duties import BureauDuties
from ncb_nodes.receiving_policy import ReceivingPolicy
from secretariat.duties import SecretariatConfig, SecretariatDuties
from secretariat.review import ReviewSettings

NOW: Final = instant_from_text("2024-03-01T09:00:00.000Z")
KEYS_BEGIN: Final = NOW - 30 * DAY
KEYS_END: Final = NOW + 300 * DAY
MEMBERS: Final = ("XA", "XB", "XC", "XD")
PARTIES: Final = (*MEMBERS, SECRETARIAT, COMMISSION, AUTHORITY)
ZONES: Final = {"Z-NORTH": ("XA", "XB")}
SEED: Final = "7"
MATCHING_KEY: Final = b"the secretariat's own key"
CASE_ID: Final = "00000000-0000-4000-8000-000000000001"


@cache
def pki() -> MemoryPki:
    """Return the one root and signing key of each party."""
    return create_memory_pki(
        (*MEMBERS, COMMISSION), simulated_not_before=KEYS_BEGIN, simulated_not_after=KEYS_END
    )


def identifiers(party: str) -> IdentifierSource:
    """Return where a party's identifiers come from."""
    return IdentifierSource(SEED, party)


def signer(party: str) -> Signer:
    """Return a party with its own key."""
    key = pki().signing[party].private_key
    return Signer(party, key_id_of(key.public_key()), key)


@cache
def opening() -> tuple[bytes, ...]:
    """Return the authority's opening statements."""
    certificates = [pki().signing[party].certificate_der for party in sorted(pki().signing)]
    return tuple(
        opening_statements(
            signer(AUTHORITY), identifiers(AUTHORITY), MEMBERS, ZONES, certificates, NOW - DAY
        )
    )


def newcomer_registry() -> Registry:
    """Return what a party knows before the opening statements: the authority's key alone."""
    return first_registry(verify_leaf(pki().signing[AUTHORITY].certificate_der, pki().root_der))


@cache
def registry() -> Registry:
    """Return what everyone knows after the opening statements."""
    leaves = [verify_leaf(pki().signing[each].certificate_der, pki().root_der) for each in PARTIES]
    members = newcomer_registry().announced(leaves, 1)
    return members.with_membership(1, MEMBERS, ZONES, sealed=False)


def person(**changes: Any) -> Person:  # noqa: ANN401  (any field of the struct)
    """Return an invented person about whom nothing is missing."""
    whole = Person("Muster", "Alex", "1980-05-17", "X", ["XA"], "CANARY-person")
    return replace(whole, **changes)


def offence(**changes: Any) -> Offence:  # noqa: ANN401  (any field of the struct)
    """Return an ordinary-law offence about which nothing is missing."""
    return replace(Offence("armed_robbery", "Robbed a bank.", "Port", "2024-01-10"), **changes)


def warrant(**changes: Any) -> Warrant:  # noqa: ANN401  (any field of the struct)
    """Return a warrant that is valid until it is withdrawn."""
    return replace(Warrant("W-1", "District Court of Port", "2024-01-20", None), **changes)


def case_file(**changes: Any) -> CaseFile:  # noqa: ANN401  (any field of the struct)
    """Return a case file with which every rule of screening is content."""
    whole = CaseFile(
        "FILE/CANARY-version",
        person(),
        SubjectStatus.WANTED_FOR_PROSECUTION,
        offence(),
        warrant(),
        "Locate and arrest with a view to extradition.",
    )
    return replace(whole, **changes)


def issued(  # noqa: PLR0913  (what a statement is made of)
    header: type[Header],
    source: str,
    to: Sequence[str],
    claims: Closed,
    *,
    subject: str = "one",
    record: Version | None = None,
    body: Closed | None = None,
    now: Instant = NOW,
    expires_at: Instant | None = None,
    in_reply_to: str | None = None,
) -> IssuedStatement:
    """Return a statement that its source has signed with its own key."""
    draft = Draft(
        header,
        tuple(to),
        claims,
        subject=subject,
        record=record,
        body=body,
        expires_at=expires_at,
        in_reply_to=in_reply_to,
    )
    return sign(draft, signer(source), identifiers(source), 1, now)


def version_of(statement: IssuedStatement) -> Version:
    """Return the version that a diffusion or amendment carries."""
    record = statement.statement.record
    assert record is not None
    return Version(record.source, record.record_id, statement.digest)


def diffusion(
    source: str = "XA",
    to: Sequence[str] = ("XB",),
    label: str = "one",
    *,
    body: CaseFile | None = None,
    now: Instant = NOW,
    expires_at: Instant | None = None,
) -> IssuedStatement:
    """Return a diffusion that opens a record, to bureaus and the secretariat."""
    return issued(
        Diffusion,
        source,
        (*to, SECRETARIAT),
        AlertClaims(Colour.RED, 1),
        subject=label,
        record=Version(source, identifiers(source).record_id(label), None),
        body=body or case_file(),
        now=now,
        expires_at=expires_at,
    )


def amendment(
    of: IssuedStatement, label: str = "amended", *, body: CaseFile | None = None, now: Instant = NOW
) -> IssuedStatement:
    """Return a new version of a record, to everyone who was addressed before."""
    return issued(
        Amendment,
        of.statement.source,
        of.statement.addressees,
        AlertClaims(Colour.RED, 1),
        subject=label,
        record=version_of(of),
        body=body or case_file(file_reference="FILE/CANARY-amended"),
        now=now,
    )


def withdrawal(of: IssuedStatement, *, now: Instant = NOW) -> IssuedStatement:
    """Return the source's withdrawal of its own record."""
    return issued(
        Withdrawal,
        of.statement.source,
        of.statement.addressees,
        WithdrawalClaims(WithdrawalReason.ERROR),
        record=version_of(of),
        now=now,
    )


def _ruling(
    header: type[Header],
    of: IssuedStatement,
    claims: Closed,
    *,
    source: str = SECRETARIAT,
    body: Closed | None = None,
    subject: str = "",
    to: Sequence[str] | None = None,
    now: Instant = NOW,
) -> IssuedStatement:
    name = f"{subject}{getattr(claims, 'number', 0)}:{of.digest.hex()}"
    holders = to or [code for code in of.statement.addressees if code != SECRETARIAT]
    return issued(
        header, source, holders, claims, subject=name, record=version_of(of), body=body, now=now
    )


def review_opened(of: IssuedStatement, number: int = 1, **how: Any) -> IssuedStatement:  # noqa: ANN401
    """Return the secretariat's mark *pending review*."""
    return _ruling(ReviewOpened, of, ReviewOpenedClaims(number, CASE_ID), **how)


def decision(
    of: IssuedStatement,
    number: int = 2,
    outcome: ReviewOutcome = ReviewOutcome.VALIDATED,
    **how: Any,  # noqa: ANN401  (handed on)
) -> IssuedStatement:
    """Return the secretariat's decision on a version."""
    claims = ReviewDecisionClaims(number, outcome, None)
    return _ruling(ReviewDecision, of, claims, subject=outcome, **how)


def block(of: IssuedStatement, number: int, **how: Any) -> IssuedStatement:  # noqa: ANN401
    """Return the secretariat's block of a record."""
    return _ruling(Block, of, BlockClaims(number, BlockReason.REVIEW), **how)


def unblock(of: IssuedStatement, number: int, **how: Any) -> IssuedStatement:  # noqa: ANN401
    """Return the lifting of a block."""
    return _ruling(Unblock, of, NumberedClaims(number), **how)


def commission_decision(
    of: IssuedStatement, number: int, action: CommissionAction
) -> IssuedStatement:
    """Return a decision of the Commission."""
    claims = CommissionDecisionClaims(number, action)
    return _ruling(CCFDecision, of, claims, source=COMMISSION, subject=action)


def retraction(
    of: IssuedStatement,
    number: int = 3,
    *,
    replaced_by: IssuedStatement | None = None,
    **how: Any,  # noqa: ANN401
) -> IssuedStatement:
    """Return a retraction: delete, or update where a replacing version is given."""
    action = RetractionAction.UPDATE if replaced_by else RetractionAction.DELETE
    claims = RetractionClaims(number, action, instant_to_text(NOW + 3 * DAY))
    body = EnvelopeBody(pack(replaced_by.envelope)) if replaced_by else None
    return _ruling(Retraction, of, claims, body=body, **how)


def message(
    source: str = "XA", to: Sequence[str] = ("XB",), text: str = "hello"
) -> IssuedStatement:
    """Return plain correspondence between bureaus."""
    return issued(Message, source, to, NoClaims(), subject=text, body=TextBody(text))


def packed(statement: IssuedStatement) -> bytes:
    """Return the octets that travel."""
    return pack(statement.envelope)


def delivery(statement: IssuedStatement, to: str) -> Delivery:
    """Return a statement as an honest bus brings it to one of its addressees."""
    kind = str(statement.statement.__struct_config__.tag)
    return delivered(packed(statement), statement.statement.source, kind, to)


def delivered(octets: bytes, user: str | None, message_type: str, to: str) -> Delivery:
    """Return any octets as the bus brings them, published by a validated user."""
    return Delivery("", octets, user, f"{user}.{message_type}.{to}", redelivered=False, tag=None)


def header_fields(statement: IssuedStatement) -> dict[str, Any]:
    """Return a signed header as plain builtins, to be altered and signed anew."""
    fields: dict[str, Any] = msgspec.to_builtins(statement.statement, builtin_types=(bytes,))
    return fields


def signed_anew(
    fields: Mapping[str, object] | bytes,
    by: str,
    attachment: Attachment | None = None,
    payload_type: str | None = None,
) -> SignedEnvelope:
    """Sign plain header fields, or payload octets, with a party's own key."""
    payload = fields if isinstance(fields, bytes) else msgspec.msgpack.encode(fields)
    if payload_type is None:
        assert not isinstance(fields, bytes)
        payload_type = f"application/vnd.i247.{fields['message_type']}.v1+msgpack"
    own = signer(by)
    signature = own.key.sign(pre_authentication_encoding(payload_type, payload))
    return SignedEnvelope(payload_type, payload, [Signature(own.key_id, signature)], attachment)


def identity(party: str) -> Identity:
    """Return what a party knows of itself and of the network at its start."""
    return Identity(signer(party), pki().root_der, newcomer_registry(), identifiers(party))


def participant(party: str, duties: Duties, path: Path | None = None) -> Participant:
    """Return a party that has taken up the opening statements; its wall clock stands still."""
    one = Participant(identity(party), duties, lambda: 0, path)
    if not one.registry.members:
        one.bootstrap(opening(), NOW)
    return one


def bureau(
    party: str = "XB",
    policy: ReceivingPolicy | None = None,
    conduct: Conduct | None = None,
    path: Path | None = None,
) -> Participant:
    """Return a bureau with a policy of its own."""
    return participant(party, BureauDuties(policy or ReceivingPolicy(), conduct), path)


def secretariat(
    settings: ReviewSettings | None = None,
    refugees: Mapping[str, Sequence[str]] | None = None,
    path: Path | None = None,
) -> Participant:
    """Return the secretariat with its reviewers and what it knows of refugees."""
    known = {key: list(states) for key, states in (refugees or {}).items()}
    config = SecretariatConfig(settings or ReviewSettings(), known, MATCHING_KEY)
    return participant(SECRETARIAT, SecretariatDuties(config), path)
