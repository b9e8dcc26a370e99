"""A msgpack of the rogue's own: writes what it is told, rules of the wire broken or not.

Written from section 1 of `docs/protocol.md` and the msgpack format; it knows nothing of ours.
"""

import struct
from typing import Any, Final

from msgspec import Struct


class Octets(Struct, frozen=True):
    """Octets to be written as they are, in the place of a value."""

    octets: bytes


class Pairs(Struct, frozen=True):
    """A map as a list of keys and values, so that a key may come twice."""

    pairs: list[tuple[str, Any]]


_LENGTHS: Final = {  # short form and its limit, then the type octets for 8, 16 and 32 bits
    "text": (0xA0, 32, 0xD9, 0xDA, 0xDB),
    "binary": (0, 0, 0xC4, 0xC5, 0xC6),
    "list": (0x90, 16, None, 0xDC, 0xDD),
    "map": (0x80, 16, None, 0xDE, 0xDF),
}


def _head(kind: str, length: int) -> bytes:
    short, limit, eight, sixteen, thirty_two = _LENGTHS[kind]
    if length < limit:
        return bytes([short | length])
    if eight is not None and length < 1 << 8:
        return struct.pack(">BB", eight, length)
    if length < 1 << 16:
        return struct.pack(">BH", sixteen, length)
    return struct.pack(">BI", thirty_two, length)


def _integer(number: int) -> bytes:
    if 0 <= number < 0x80:
        return bytes([number])
    if -32 <= number < 0:
        return struct.pack("b", number)
    forms = "BHIQ" if number > 0 else "bhiq"
    first = 0xCC if number > 0 else 0xD0
    for place, form in enumerate(forms):
        try:
            return struct.pack(f">B{form}", first + place, number)
        except struct.error:
            continue
    raise OverflowError(number)


def packed(value: Any) -> bytes:  # noqa: ANN401  (any value of the wire)
    """Return a value in its shortest form, apart from what `Octets` and `Pairs` ask for."""
    match value:
        case Octets():
            return value.octets
        case Pairs():
            inside = b"".join(packed(key) + packed(each) for key, each in value.pairs)
            return _head("map", len(value.pairs)) + inside
        case dict():
            return packed(Pairs(list(value.items())))
        case list():
            return _head("list", len(value)) + b"".join(map(packed, value))
        case bytes():
            return _head("binary", len(value)) + value
        case str():
            return _head("text", len(value.encode())) + value.encode()
        case int() if not isinstance(value, bool):
            return _integer(value)
        case _:
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]


def unpacked(octets: bytes) -> Any:  # noqa: ANN401  (any value of the wire)
    """Return the value that octets hold, trusting that they are in order."""
    value, end = _value(octets, 0)
    if end != len(octets):
        message = "octets after the value"
        raise ValueError(message)
    return value


def _value(octets: bytes, at: int) -> tuple[Any, int]:
    first, at = octets[at], at + 1
    if first <= 0x7F or first >= 0xE0:
        return (first if first <= 0x7F else first - 256), at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if 0xCC <= first <= 0xD3:
        form = f">{'BHIQbhiq'[first - 0xCC]}"
        return struct.unpack_from(form, octets, at)[0], at + struct.calcsize(form)
    kind, length, at = _length(octets, first, at)
    if kind in ("text", "binary"):
        piece = octets[at : at + length]
        return (piece.decode() if kind == "text" else piece), at + length
    items = []
    for _ in range(length * (2 if kind == "map" else 1)):
        item, at = _value(octets, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if kind == "map" else items), at


def _length(octets: bytes, first: int, at: int) -> tuple[str, int, int]:
    for kind, (short, limit, *types) in _LENGTHS.items():
        if short <= first < short + limit:
            return kind, first - short, at
        if first in types:
            size = (1, 2, 4)[types.index(first)]
            return kind, int.from_bytes(octets[at : at + size], "big"), at + size
    message = f"type octet {first:#x}"
    raise ValueError(message)
