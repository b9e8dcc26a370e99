"""Identifiers: their closed forms, and that seeded ones depend on their subject alone."""

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.identifiers import (
    AUTHORITY,
    COMMISSION,
    SECRETARIAT,
    Digest,
    IdentifierSource,
    KeyId,
    MessageId,
    NCBCode,
    PartyCode,
    RecordId,
    Role,
    TimestampText,
    TraceParent,
    ZoneCode,
    is_party_code,
    role_of,
)
from bus.instants import Instant
from tests.factories import NOW

UUID4 = "0f8fad5b-d9cb-469f-a165-70867728950e"
UUID7 = "018df9c1-8a00-7abc-8def-0123456789ab"
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"

ACCEPTED: dict[str, tuple[Any, object]] = {
    "a member": (NCBCode, "FR"),
    "the secretariat as a party": (PartyCode, "IPSG"),
    "a zone": (ZoneCode, "Z-NORTH"),
    "a random record id": (RecordId, UUID4),
    "a message id": (MessageId, UUID7),
    "a timestamp": (TimestampText, "2024-03-01T09:00:00.000Z"),
    "a traceparent": (TraceParent, TRACE),
    "a digest": (Digest, bytes(32)),
    "a key id": (KeyId, "0" * 64),
}
REFUSED: dict[str, tuple[Any, object]] = {
    "the secretariat as a member": (NCBCode, "IPSG"),
    "a code in small letters": (PartyCode, "fr"),
    "a code with a line feed after it": (PartyCode, "FR\n"),
    "a code in look-alike letters": (PartyCode, "\u0410\u0412"),
    "a zone without its mark": (ZoneCode, "NORTH"),
    "a record id in capitals": (RecordId, UUID4.upper()),
    "a record id without hyphens": (RecordId, UUID4.replace("-", "")),
    "a record id with a line feed after it": (RecordId, f"{UUID4}\n"),
    "a message id of version 4": (MessageId, UUID4),
    "a timestamp with an offset": (TimestampText, "2024-03-01T09:00:00.000+00:00"),
    "a timestamp without milliseconds": (TimestampText, "2024-03-01T09:00:00Z"),
    "a timestamp in other digits": (TimestampText, "\u0662\u0660\u0662\u0664-03-01T09:00:00.000Z"),
    "a traceparent of a later version": (TraceParent, TRACE.replace("00-", "01-", 1)),
    "a digest one octet short": (Digest, bytes(31)),
    "a digest as text": (Digest, "0" * 32),
    "a key id in capitals": (KeyId, "A" * 64),
}


@pytest.mark.parametrize(("form", "value"), ACCEPTED.values(), ids=ACCEPTED)
def test_value_of_the_closed_form_is_accepted(form: Any, value: object) -> None:  # noqa: ANN401
    """Each form accepts a value as the wire writes it."""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=form) == value


@pytest.mark.parametrize(("form", "value"), REFUSED.values(), ids=REFUSED)
def test_value_outside_the_closed_form_is_refused(form: Any, value: object) -> None:  # noqa: ANN401
    """Other spellings, trailing line feeds and look-alike characters do not pass."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=form)


def test_every_party_has_the_one_role_of_its_code() -> None:
    """Three codes are reserved; every other one is a bureau's."""
    parties = ("XA", SECRETARIAT, COMMISSION, AUTHORITY)
    roles = [Role.NCB, Role.SECRETARIAT, Role.CCF, Role.AUTHORITY]
    assert [role_of(party) for party in parties] == roles


def test_text_that_is_no_party_code_is_told_apart() -> None:
    """Only two capital letters and the three reserved codes name a party."""
    texts = ("XA", "IPSG", "CCF", "AUTH", "X", "XAB", "xa", "XA\n", "")
    assert [text for text in texts if is_party_code(text)] == ["XA", "IPSG", "CCF", "AUTH"]


@given(now=st.integers(min_value=0, max_value=(1 << 48) - 1), subject=st.text(max_size=20))
def test_message_id_is_a_uuid_of_version_7_that_carries_its_instant(
    now: Instant, subject: str
) -> None:
    """The id fits its own closed form, and its first 48 bits are the milliseconds."""
    text = IdentifierSource("7", "XA").message_id(now, subject)
    assert msgspec.convert(text, MessageId) == text
    assert (UUID(text).version, UUID(text).int >> 80) == (7, now)


@given(subject=st.text(max_size=20))
def test_record_id_and_traceparent_fit_their_closed_forms(subject: str) -> None:
    """Whatever the subject, what is minted may travel."""
    source = IdentifierSource("7", "XA")
    assert UUID(msgspec.convert(source.record_id(subject), RecordId)).version == 4
    assert msgspec.convert(source.traceparent(subject), TraceParent).startswith("00-")


def test_identifiers_repeat_for_one_subject_and_differ_in_every_part_of_their_key() -> None:
    """Same seed, party, purpose and subject give the same draw; any other key another one."""
    keys = ("7Aps", "8Aps", "7Bps", "7Aqs", "7Apt")

    def draws() -> list[bytes]:
        return [IdentifierSource(k[0], k[1]).octets(k[2], k[3]) for k in keys]

    assert draws() == draws()
    assert len(set(draws())) == len(keys)


def test_order_of_draws_does_not_matter() -> None:
    """There is no stream: a draw in between changes nothing."""
    first, second = IdentifierSource("7", "XA"), IdentifierSource("7", "XA")
    second.message_id(NOW, "something else")
    assert first.message_id(NOW, "s") == second.message_id(NOW, "s")


@given(subject=st.text(max_size=20))
def test_fraction_lies_in_the_half_open_unit_interval(subject: str) -> None:
    """A share of 0 never happens and a share of 1 always does."""
    assert 0 <= IdentifierSource("7", "XA").fraction("share", subject) < 1
