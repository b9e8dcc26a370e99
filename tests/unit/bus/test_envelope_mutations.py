"""Damaged octets: the same verified message or a catalogued refusal, never another exception."""

import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bus import refusals
from bus.envelope import Plain, body_commitment, digest_of_delivery, open_envelope, pack
from bus.quarantine import reduced_fields
from bus.refusals import EnvelopeRefused, Refusal
from bus.verification import VerifiedMessage
from tests.factories import (
    amendment,
    header_fields,
    opening,
    packed,
    retraction,
    review_opened,
    signed_anew,
    withdrawal,
)
from tests.statement_strategies import bodies, headers, kinds
from tests.unit.bus.forgeries import HONEST, Attempt

UPDATE = retraction(HONEST, replaced_by=amendment(HONEST))
ORIGINALS = [
    Attempt(packed(HONEST)),
    Attempt(packed(withdrawal(HONEST)), "XA", "XA.withdrawal.XB"),
    Attempt(packed(review_opened(HONEST)), "IPSG", "IPSG.review_opened.XB"),
    Attempt(packed(UPDATE), "IPSG", "IPSG.retraction.XB"),
    Attempt(opening()[1], "AUTH", "AUTH.membership.XB"),
]
VERIFIED = [original.verified() for original in ORIGINALS]


def result_of(attempt: Attempt) -> VerifiedMessage | Refusal:
    """Return what verification makes of a delivery."""
    try:
        return attempt.verified()
    except EnvelopeRefused as refused:
        return refused.refusal


@st.composite
def damaged(draw: st.DrawFn) -> tuple[int, bytes]:
    """Return which original was taken, and its octets after a few edits anywhere."""
    index = draw(st.integers(0, len(ORIGINALS) - 1))
    octets = bytearray(ORIGINALS[index].octets)
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(octets)))
        size = draw(st.integers(0, 8))
        octets[position : position + size] = draw(st.binary(max_size=8))
    return index, bytes(octets)


@settings(max_examples=1_000)
@given(damaged())
def test_damaged_octets_verify_to_the_same_message_or_are_refused(case: tuple[int, bytes]) -> None:
    """No edit changes what a message says; the refusal is always one of the catalogue."""
    index, octets = case
    result = result_of(replace(ORIGINALS[index], octets=octets))
    assert result == VERIFIED[index] or result in refusals.CATALOGUE.values()


@given(damaged())
def test_any_damaged_delivery_can_be_accounted_for(case: tuple[int, bytes]) -> None:
    """What goes into quarantine has a digest and harmless fields, whatever it was."""
    _, octets = case
    assert len(digest_of_delivery(octets)) == 32
    assert set(reduced_fields(octets)) <= {
        "message_type", "message_id", "source", "record_source", "record_id",
    }  # fmt: skip


def test_every_single_bit_of_an_envelope_counts() -> None:
    """There is no octet in which an attacker could hide a change."""
    octets = ORIGINALS[0].octets
    survivors = []
    for position in range(len(octets)):
        for bit in (0x01, 0x80):
            turned = bytearray(octets)
            turned[position] ^= bit
            if isinstance(result_of(replace(ORIGINALS[0], octets=bytes(turned))), VerifiedMessage):
                survivors.append(position)
    assert survivors == []


def test_envelope_cut_off_at_any_octet_is_refused() -> None:
    """No prefix of an envelope is an envelope."""
    octets = ORIGINALS[3].octets
    found = {result_of(replace(ORIGINALS[3], octets=octets[:size])) for size in range(len(octets))}
    assert found == {refusals.ENVELOPE_MALFORMED}


@given(st.integers(0, len(ORIGINALS) - 1), st.randoms(use_true_random=False))
def test_order_of_the_envelopes_keys_does_not_matter(index: int, order: random.Random) -> None:
    """The outer maps are not signed as octets, so another order is the same message."""
    fields = msgspec.msgpack.decode(ORIGINALS[index].octets)
    result = result_of(
        replace(ORIGINALS[index], octets=msgspec.msgpack.encode(mixed(fields, order)))
    )
    assert result == VERIFIED[index]


@given(st.randoms(use_true_random=False))
def test_order_of_a_headers_and_bodys_keys_is_the_senders_own(order: random.Random) -> None:
    """A client in another language may write its maps in any order, at every level."""
    attachment = HONEST.envelope.attachment
    assert isinstance(attachment, Plain)
    body = msgspec.msgpack.encode(mixed(msgspec.msgpack.decode(attachment.body), order))
    header = header_fields(HONEST) | {"body_commitment": body_commitment(attachment.nonce, body)}
    envelope = signed_anew(mixed(header, order), "XA", Plain(attachment.nonce, body))
    opened = open_envelope(pack(envelope))
    assert opened.body == VERIFIED[0].body
    assert isinstance(result_of(Attempt(pack(envelope))), VerifiedMessage)


def mixed(value: Any, order: random.Random) -> Any:  # noqa: ANN401  (any value of the wire)
    """Return a value with the keys of its maps in another order."""
    if isinstance(value, dict):
        names = list(value)
        order.shuffle(names)
        return {name: mixed(value[name], order) for name in names}
    return [mixed(each, order) for each in value] if isinstance(value, list) else value


@given(st.data())
def test_any_statement_of_the_catalogue_opens_as_it_was_written(data: st.DataObject) -> None:
    """Whatever the closed forms allow survives signing, packing and opening."""
    kind = data.draw(kinds())
    fields = data.draw(headers(kind, ()))
    attachment = None
    if kind.body is not None:
        attachment = Plain(bytes(32), data.draw(bodies(kind.body)))
        fields["body_commitment"] = body_commitment(attachment.nonce, attachment.body)
    opened = open_envelope(pack(signed_anew(fields, fields["source"], attachment)))
    assert msgspec.to_builtins(opened.statement, builtin_types=(bytes,)) == fields
    assert (opened.body is None) == (attachment is None)


def test_refused_delivery_tells_the_header_fields_that_are_in_form() -> None:
    """What names the message is kept of a refused delivery, and nothing of its body."""
    record = HONEST.statement.record
    assert record is not None
    assert reduced_fields(packed(HONEST)) == {
        "message_type": "diffusion",
        "message_id": HONEST.message_id,
        "source": "XA",
        "record_source": "XA",
        "record_id": record.record_id,
    }


def test_refused_delivery_tells_no_field_that_is_out_of_form() -> None:
    """An attacker's text does not reach logs and stores by way of the quarantine."""
    fields = header_fields(HONEST) | {
        "message_id": "<script>",
        "source": "Alex Muster",
        "record": {"source": "XA", "record_id": "1' OR '1'='1", "statement_digest": None},
    }
    assert reduced_fields(pack(signed_anew(fields, "XA"))) == {"message_type": "diffusion"}
    fields["message_type"] = "Alex Muster"
    assert reduced_fields(pack(signed_anew(fields, "XA"))) == {"message_type": None}
