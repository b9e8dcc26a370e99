"""Strict msgpack: one spelling of each value, closed maps, bounded depth, whole values only."""

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import refusals
from bus.messages import codec
from bus.messages.header import Closed
from bus.messages.packed_walk import walk
from bus.refusals import EnvelopeRefused, Refusal


class Inner(Closed, frozen=True):
    """A map inside a map."""

    number: int


class Box(Closed, frozen=True):
    """One field for each kind of value that the wire uses."""

    integer: int
    text: str
    binary: bytes
    flag: bool
    nothing: None
    inner: Inner | None
    many: list[Inner]
    named: dict[str, int]


BOXES = msgspec.msgpack.Decoder(Box)
ANYTHING = msgspec.msgpack.Decoder()
BOX = Box(5, "ab", b"cd", True, None, Inner(1), [Inner(2)], {"k": 3})  # noqa: FBT003


def spelled(**fields: bytes) -> bytes:
    """Return the box as octets, with the values of some fields spelled otherwise."""
    octets = bytearray([0x80 | len(Box.__struct_fields__)])
    for name in Box.__struct_fields__:
        plain = msgspec.msgpack.encode(getattr(BOX, name))
        octets += msgspec.msgpack.encode(name) + fields.get(name, plain)
    return bytes(octets)


def refusal_of(octets: bytes, decoder: Any = BOXES, shape: Any = Box) -> Refusal:  # noqa: ANN401
    """Return why octets are refused."""
    with pytest.raises(EnvelopeRefused) as caught:
        codec.decode(decoder, octets, shape)
    return caught.value.refusal


LONGER = {
    "5 in one octet": ("integer", b"\xcc\x05"),
    "5 in two octets": ("integer", b"\xcd\x00\x05"),
    "5 in four octets": ("integer", b"\xce\x00\x00\x00\x05"),
    "5 in eight octets": ("integer", b"\xcf" + struct.pack(">Q", 5)),
    "5 as signed octet": ("integer", b"\xd0\x05"),
    "5 as signed two octets": ("integer", b"\xd1\x00\x05"),
    "5 as signed four octets": ("integer", b"\xd2" + struct.pack(">i", 5)),
    "5 as signed eight octets": ("integer", b"\xd3" + struct.pack(">q", 5)),
    "200 as signed two octets": ("integer", b"\xd1\x00\xc8"),
    "255 in two octets": ("integer", b"\xcd\x00\xff"),
    "65535 in four octets": ("integer", b"\xce\x00\x00\xff\xff"),
    "2**32 - 1 in eight octets": ("integer", b"\xcf" + struct.pack(">Q", 2**32 - 1)),
    "-1 in one octet": ("integer", b"\xd0\xff"),
    "-32 in one octet": ("integer", b"\xd0\xe0"),
    "-33 in two octets": ("integer", b"\xd1" + struct.pack(">h", -33)),
    "-128 in two octets": ("integer", b"\xd1" + struct.pack(">h", -128)),
    "-32768 in four octets": ("integer", b"\xd2" + struct.pack(">i", -32768)),
    "-2**31 in eight octets": ("integer", b"\xd3" + struct.pack(">q", -(2**31))),
    "2 characters, length in one octet": ("text", b"\xd9\x02ab"),
    "2 characters, length in two octets": ("text", b"\xda\x00\x02ab"),
    "2 characters, length in four octets": ("text", b"\xdb\x00\x00\x00\x02ab"),
    "31 characters, length in one octet": ("text", b"\xd9\x1f" + b"a" * 31),
    "255 characters, length in two octets": ("text", b"\xda\x00\xff" + b"a" * 255),
    "65535 characters, length in four octets": ("text", b"\xdb\x00\x00\xff\xff" + b"a" * 65535),
    "2 octets, length in two octets": ("binary", b"\xc5\x00\x02cd"),
    "2 octets, length in four octets": ("binary", b"\xc6\x00\x00\x00\x02cd"),
    "65535 octets, length in four octets": ("binary", b"\xc6\x00\x00\xff\xff" + b"a" * 65535),
    "a list, length in two octets": ("many", b"\xdc\x00\x00"),
    "a list, length in four octets": ("many", b"\xdd\x00\x00\x00\x00"),
    "a map, length in two octets": ("named", b"\xde\x00\x00"),
    "a map, length in four octets": ("named", b"\xdf\x00\x00\x00\x00"),
    "a key, length in one octet": ("named", b"\x81\xd9\x01k\x03"),
    "a struct, length in two octets": ("inner", b"\xde\x00\x01\xa6number\x01"),
    "an item of a list": ("many", b"\x91\x81\xa6number\xcc\x02"),
}
FOREIGN = {
    "a whole float for an integer": ("integer", b"\xca" + struct.pack(">f", 5.0)),
    "a whole double for an integer": ("integer", b"\xcb" + struct.pack(">d", 5.0)),
    "text for an integer": ("integer", b"\xa15"),
    "true for an integer": ("integer", b"\xc3"),
    "an integer for a flag": ("flag", b"\x01"),
    "binary for text": ("text", b"\xc4\x02ab"),
    "text for binary": ("binary", b"\xa2cd"),
    "an extension": ("nothing", b"\xd4\x01\x00"),
    "a timestamp extension": ("text", b"\xd6\xff\x00\x00\x00\x00"),
    "the octet that msgpack never uses": ("nothing", b"\xc1"),
    "nil where there must be a list": ("many", b"\xc0"),
    "a key that is an integer": ("named", b"\x81\x01\x03"),
}


def test_value_as_the_encoder_writes_it_is_accepted() -> None:
    """The hand-made spelling used in this module is the encoder's own."""
    assert spelled() == codec.encode(BOX)
    assert codec.decode(BOXES, spelled(), Box) == BOX


@pytest.mark.parametrize(("field", "octets"), LONGER.values(), ids=LONGER)
def test_longer_spelling_of_a_value_is_refused(field: str, octets: bytes) -> None:
    """Whatever the type, only the shortest encoding counts, so one statement has one digest."""
    assert refusal_of(spelled(**{field: octets})) is refusals.ENCODING_NOT_SHORTEST


@pytest.mark.parametrize(("field", "octets"), FOREIGN.values(), ids=FOREIGN)
def test_value_of_another_type_is_refused(field: str, octets: bytes) -> None:
    """Types that look alike, and types that the wire does not use, are malformed fields."""
    assert refusal_of(spelled(**{field: octets})) is refusals.FIELD_MALFORMED


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=30,
)


@given(VALUES)
def test_walker_reads_what_the_encoder_writes(value: object) -> None:
    """The careful reader and the fast writer agree on every value of the wire."""
    assert walk(codec.encode(value), levels_max=20) == value


@given(st.binary(max_size=60))
def test_any_octets_are_a_value_or_a_catalogued_refusal(octets: bytes) -> None:
    """No octets raise anything else, and what is accepted is in its one spelling."""
    try:
        read = codec.decode(ANYTHING, octets)
    except EnvelopeRefused as refused:
        read = refused.refusal
    if not isinstance(read, Refusal):
        assert walk(octets, codec.NESTING_LEVELS_MAX) == msgspec.msgpack.decode(octets) == read
    else:
        assert read in refusals.CATALOGUE.values()


DUPLICATES = {
    "in the outer map": b"\x89" + spelled()[1:] + b"\xa7integer\x05",
    "with another value": b"\x89" + spelled()[1:] + b"\xa7integer\x06",
    "in an inner map": spelled(inner=b"\x82\xa6number\x01\xa6number\x01"),
    "in a map of a list": spelled(many=b"\x91\x82\xa6number\x01\xa6number\x01"),
    "in a map with free keys": spelled(named=b"\x82\xa1k\x03\xa1k\x03"),
}


@pytest.mark.parametrize("octets", DUPLICATES.values(), ids=DUPLICATES)
def test_key_that_comes_twice_is_refused(octets: bytes) -> None:
    """Parsers differ in which of two equal keys they believe, so neither is believed."""
    assert refusal_of(octets) is refusals.FIELD_DUPLICATE


UNKNOWN = {
    "in the outer map": b"\x89" + spelled()[1:] + b"\xa5extra\x05",
    "in an inner map": spelled(inner=b"\x82\xa6number\x01\xa5extra\x01"),
    "in a map of a list": spelled(many=b"\x91\x82\xa6number\x01\xa5extra\x01"),
}
MISSING = {
    "in the outer map": b"\x87" + spelled()[1 + len(b"\xa7integer\x05") :],
    "in an inner map": spelled(inner=b"\x80"),
    "in a map of a list": spelled(many=b"\x91\x80"),
}


@pytest.mark.parametrize("octets", UNKNOWN.values(), ids=UNKNOWN)
def test_key_that_the_form_does_not_name_is_refused(octets: bytes) -> None:
    """At every level a map has the fields of its form and no more."""
    assert refusal_of(octets) is refusals.FIELD_UNKNOWN


@pytest.mark.parametrize("octets", MISSING.values(), ids=MISSING)
def test_key_that_is_not_there_is_refused(octets: bytes) -> None:
    """Nothing has a default: what is not known is said to be nil."""
    assert refusal_of(octets) is refusals.FIELD_MISSING


def test_refusal_names_the_field_and_never_its_content() -> None:
    """What an attacker wrote must not reach a log by way of a refusal."""
    with pytest.raises(EnvelopeRefused, match=r"inner\.number") as caught:
        codec.decode(BOXES, spelled(inner=b"\x80"), Box)
    assert caught.value.where == "inner.number"
    with pytest.raises(EnvelopeRefused) as caught:
        codec.decode(BOXES, spelled(inner=b"\x82\xa6number\x01\xa5extra\x01"), Box)
    assert "extra" not in str(caught.value)


def test_order_of_keys_is_free() -> None:
    """A sender may write the fields in any order; each order has its own octets and digest."""
    swapped = b"\x82\xa1b\x02\xa1a\x01"
    assert codec.decode(ANYTHING, swapped) == {"a": 1, "b": 2}
    turned = {name: getattr(BOX, name) for name in reversed(Box.__struct_fields__)}
    assert codec.decode(BOXES, codec.encode(turned), Box) == BOX


def test_depth_is_bounded() -> None:
    """The deepest value allowed passes, one level more does not."""
    deepest: object = 1
    for _ in range(codec.NESTING_LEVELS_MAX - 1):
        deepest = [deepest]
    octets = b"\x81\xa5extra" + codec.encode(deepest)
    assert refusal_of(octets) is refusals.NESTING_TOO_DEEP
    assert walk(codec.encode(deepest), codec.NESTING_LEVELS_MAX) == deepest


@pytest.mark.parametrize("opener", [b"\x91", b"\x81\xa1k"], ids=["lists", "maps"])
def test_hundred_thousand_levels_are_refused_without_exhausting_the_stack(opener: bytes) -> None:
    """Depth is counted, not recursed into."""
    assert refusal_of(opener * 100_000) is refusals.NESTING_TOO_DEEP


BOMBS = {
    "text of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "binary of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "list of 4 G items": b"\xdd\xff\xff\xff\xff",
    "map of 4 G keys": b"\xdf\xff\xff\xff\xff",
    "list of 4 G items that holds one": b"\xdd\xff\xff\xff\xff\x01",
    "field with a list of 4 G items": spelled()[: spelled().index(b"\xa4many") + 5]
    + b"\xdd\xff\xff\xff\xff",
}


@pytest.mark.parametrize("octets", BOMBS.values(), ids=BOMBS)
def test_length_that_the_octets_cannot_hold_is_refused_at_once(octets: bytes) -> None:
    """A few octets cannot make a reader loop or allocate for billions of items."""
    assert refusal_of(octets) is refusals.ENVELOPE_MALFORMED


def test_value_cut_off_at_any_octet_is_refused() -> None:
    """No prefix of a value is a value."""
    whole = spelled()
    codes = {refusal_of(whole[:size]).code for size in range(len(whole))}
    assert codes == {"envelope_malformed"}


def test_octets_after_the_value_are_refused() -> None:
    """One delivery holds one value; nothing can hide behind it."""
    assert refusal_of(spelled() + b"\xc0") is refusals.ENVELOPE_MALFORMED


@pytest.mark.parametrize("text", [b"\xa1\xff", b"\xa3\xed\xa0\x80", b"\xa2\xc0\x80"])
def test_text_that_is_not_utf_8_is_refused(text: bytes) -> None:
    """Stray octets, lone surrogates and overlong forms are no text."""
    assert refusal_of(spelled(text=text)) is refusals.ENVELOPE_MALFORMED
