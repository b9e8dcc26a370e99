"""What a bureau can be told to issue: by its people, by a scenario, by a tester."""

from collections.abc import Mapping

from msgspec import Struct

from bus.errors import BadInput
from bus.holdings import erase_record, keep_own_version
from bus.identifiers import SECRETARIAT
from bus.instants import Instant
from bus.messages.alerts import (
    AlertClaims,
    Amendment,
    Colour,
    Diffusion,
    Withdrawal,
    WithdrawalClaims,
    WithdrawalReason,
)
from bus.messages.case_file import CaseFile
from bus.messages.correspondence import (
    Answer,
    InformationReply,
    Message,
    NoClaims,
    ReviewAnswerClaims,
    ReviewQuestion,
    TextBody,
)
from bus.messages.header import Header, Version
from bus.registry import Registry
from bus.statements import Draft, IssuedStatement
from bus.storage.records import RecordKey
from bus.turn import Turn
from ncb_nodes.national_store import NationalStore

ALL_MEMBERS = "ALL"


class Order(Struct, frozen=True, tag_field="order", forbid_unknown_fields=True):
    """Base of all orders. `label` is the name under which the caller speaks of a record."""

    label: str


class IssueDiffusion(Order, frozen=True, kw_only=True, tag="diffusion"):
    """Open a record. `to` lists codes, zones, or ALL; `held_back` delays mail to some."""

    to: tuple[str, ...]
    case_file: CaseFile
    colour: Colour = Colour.RED
    expires_at: Instant | None = None
    held_back: Mapping[str, Instant] = {}


class IssueAmendment(Order, frozen=True, kw_only=True, tag="amendment"):
    """Put a new version of an own record in the place of its newest one."""

    case_file: CaseFile


class IssueWithdrawal(Order, frozen=True, kw_only=True, tag="withdrawal"):
    """End an own record."""

    reason: WithdrawalReason = WithdrawalReason.PURPOSE_MET


class IssueMessage(Order, frozen=True, kw_only=True, tag="message"):
    """Write to other bureaus."""

    to: tuple[str, ...]
    text: str


class IssueInformationReply(Order, frozen=True, kw_only=True, tag="information_reply"):
    """Answer what the NDTF asked about the newest version of an own record."""

    question: ReviewQuestion
    answer: Answer
    text: str


class RepeatStatement(Order, frozen=True, kw_only=True, tag="repeat"):
    """Send the opening statement of an own record again, the same octets, to one recipient."""

    to: str


AnyOrder = (
    IssueDiffusion
    | IssueAmendment
    | IssueWithdrawal
    | IssueMessage
    | IssueInformationReply
    | RepeatStatement
)


class OrderDone(Struct, frozen=True):
    """What an order led to; without a message id nothing was issued, as the record had ended."""

    message_id: str
    digest: bytes
    record_id: str


def expanded(to: tuple[str, ...], registry: Registry, own: str) -> tuple[str, ...]:
    """Expand zones and ALL to member codes under the membership in force.

    Raises `BadInput` for a code or zone that the membership does not know.
    """
    codes: set[str] = set()
    for name in to:
        if name == ALL_MEMBERS:
            codes |= registry.members
        elif name in registry.zones:
            codes |= set(registry.zones[name])
        elif registry.takes_part(name):
            codes.add(name)
        else:
            message = f"{name} is no member, zone or ALL"
            raise BadInput(message)
    return tuple(sorted(codes - {own}))


def carry_out(turn: Turn, order: AnyOrder) -> OrderDone:
    """Carry out one order.

    Raises `BadInput` for a recipient or record that is unknown, or a label already in use.
    """
    match order:
        case IssueDiffusion():
            return _diffusion(turn, order)
        case IssueAmendment():
            return _amendment(turn, order)
        case IssueWithdrawal():
            return _withdrawal(turn, order)
        case IssueMessage():
            return _message(turn, order)
        case IssueInformationReply():
            return _information_reply(turn, order)
        case RepeatStatement():
            return _repeat(turn, order)


def _diffusion(turn: Turn, order: IssueDiffusion) -> OrderDone:
    store = NationalStore(turn.stores.database)
    if store.record_labelled(order.label) is not None:
        message = f"{turn.party} has already issued a record {order.label!r}"
        raise BadInput(message)
    record_id = turn.identifiers.record_id(order.label)
    addressees = (*expanded(order.to, turn.registry, turn.party), SECRETARIAT)
    issued = turn.issue(
        Draft(
            Diffusion,
            addressees,
            AlertClaims(order.colour, turn.registry.membership_number),
            subject=order.label,
            record=Version(turn.party, record_id, None),
            body=order.case_file,
            expires_at=order.expires_at,
            held_back=order.held_back,
        )
    )
    store.keep_label(order.label, record_id)
    keep_own_version(turn, issued)
    return _done(issued, record_id)


def _amendment(turn: Turn, order: IssueAmendment) -> OrderDone:
    key, newest, first = _own_record(turn, order.label)
    if turn.stores.records.standing(key).ended:
        return _not_issued(turn, "amendment", key)
    issued = turn.issue(
        Draft(
            Amendment,
            tuple(first.addressees),
            AlertClaims(_colour_of(first), turn.registry.membership_number),
            subject=f"{order.label}:{newest.hex()}",
            record=Version(key.source, key.record_id, newest),
            body=order.case_file,
        )
    )
    keep_own_version(turn, issued)
    return _done(issued, key.record_id)


def _withdrawal(turn: Turn, order: IssueWithdrawal) -> OrderDone:
    key, newest, first = _own_record(turn, order.label)
    if turn.stores.records.standing(key).ended:
        return _not_issued(turn, "withdrawal", key)
    issued = turn.issue(
        Draft(
            Withdrawal,
            tuple(first.addressees),
            WithdrawalClaims(order.reason),
            subject=order.label,
            record=Version(key.source, key.record_id, newest),
        )
    )
    keep_own_version(turn, issued)
    erase_record(turn, key)
    return _done(issued, key.record_id)


def _message(turn: Turn, order: IssueMessage) -> OrderDone:
    issued = turn.issue(
        Draft(
            Message,
            expanded(order.to, turn.registry, turn.party),
            NoClaims(),
            subject=order.label,
            body=TextBody(order.text),
        )
    )
    return _done(issued, "")


def _information_reply(turn: Turn, order: IssueInformationReply) -> OrderDone:
    key, newest, _ = _own_record(turn, order.label)
    if turn.stores.records.standing(key).ended:
        return _not_issued(turn, "information_reply", key)
    issued = turn.issue(
        Draft(
            InformationReply,
            (SECRETARIAT,),
            ReviewAnswerClaims(order.question, order.answer),
            subject=f"{order.label}:{newest.hex()}",
            record=Version(key.source, key.record_id, newest),
            body=TextBody(order.text),
        )
    )
    return _done(issued, key.record_id)


def _repeat(turn: Turn, order: RepeatStatement) -> OrderDone:
    key, newest, first = _own_record(turn, order.label)
    turn.stores.outbox.send_again(first.message_id, order.to, turn.now)
    turn.note(
        "statement_sent_again",
        message_id=first.message_id,
        source=key.source,
        record_id=key.record_id,
        detail={"recipient": order.to},
    )
    return OrderDone(first.message_id, newest, key.record_id)


def _colour_of(opening: Header) -> Colour:
    """Return the colour of the diffusion that opened a record; amendments keep it."""
    return opening.claims.colour if isinstance(opening, Diffusion) else Colour.RED


def _not_issued(turn: Turn, message_type: str, key: RecordKey) -> OrderDone:
    """Note that there is nothing to amend, withdraw or explain: the record has ended."""
    turn.note(
        f"{message_type}_not_issued", source=key.source, record_id=key.record_id, state="deleted"
    )
    return OrderDone("", b"", key.record_id)


def _own_record(turn: Turn, label: str) -> tuple[RecordKey, bytes, Header]:
    """Return an own record, the digest of its newest version, and its opening statement."""
    record_id = NationalStore(turn.stores.database).record_labelled(label)
    if record_id is None:
        message = f"{turn.party} has issued no record {label!r}"
        raise BadInput(message)
    key = RecordKey(turn.party, record_id)
    opening, newest = turn.stores.outbox.versions_of(key.source, key.record_id)
    return key, newest, opening


def _done(issued: IssuedStatement, record_id: str) -> OrderDone:
    return OrderDone(issued.message_id, issued.digest, record_id)
