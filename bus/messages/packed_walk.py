"""A slow and careful reader of msgpack, for octets that the quick path did not accept.

It knows the subset that the wire uses (nil, booleans, integers, text, binary, lists, maps with
text keys) and says which rule the octets break.
"""

from typing import Final

from bus import refusals
from bus.refusals import EnvelopeRefused, Refusal

Value = None | bool | int | str | bytes | list["Value"] | dict[str, "Value"]

_INTEGERS: Final = {  # type octet: (size, signed, lowest and highest value a shorter form covers)
    0xCC: (1, False, 0, 0x7F),
    0xCD: (2, False, 0, 0xFF),
    0xCE: (4, False, 0, 0xFFFF),
    0xCF: (8, False, 0, 0xFFFF_FFFF),
    0xD0: (1, True, -0x20, -1),
    0xD1: (2, True, -0x80, -1),
    0xD2: (4, True, -0x8000, -1),
    0xD3: (8, True, -0x8000_0000, -1),
}
_LENGTHS: Final = {  # type octet: (kind, size of the length, longest that a shorter form covers)
    0xD9: ("text", 1, 31),
    0xDA: ("text", 2, 0xFF),
    0xDB: ("text", 4, 0xFFFF),
    0xC4: ("binary", 1, -1),
    0xC5: ("binary", 2, 0xFF),
    0xC6: ("binary", 4, 0xFFFF),
    0xDC: ("list", 2, 15),
    0xDD: ("list", 4, 0xFFFF),
    0xDE: ("map", 2, 15),
    0xDF: ("map", 4, 0xFFFF),
}


def walk(octets: bytes, levels_max: int) -> Value:
    """Return the value as builtins; raise `EnvelopeRefused` where a rule of the wire is broken."""
    reader = _Reader(octets)
    value = reader.value(levels_max)
    if reader.position != len(octets):
        raise EnvelopeRefused(refusals.ENVELOPE_MALFORMED, "octets after the value")
    return value


class _Reader:
    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.position = 0

    def value(self, levels: int) -> Value:
        if levels <= 0:
            raise EnvelopeRefused(refusals.NESTING_TOO_DEEP)
        kind, length = self._head()
        if kind == "text":
            return self._text(length)
        if kind == "binary":
            return self._take(length)
        if kind == "list":
            self._room_for(length)
            return [self.value(levels - 1) for _ in range(length)]
        if kind == "map":
            self._room_for(2 * length)
            return self._map(length, levels - 1)
        return {"nil": None, "false": False, "true": True}.get(kind, length)

    def _map(self, length: int, levels: int) -> dict[str, Value]:
        content: dict[str, Value] = {}
        for _ in range(length):
            key = self.value(levels)
            if not isinstance(key, str):
                raise EnvelopeRefused(refusals.FIELD_MALFORMED, "a key that is not text")
            if key in content:
                raise EnvelopeRefused(refusals.FIELD_DUPLICATE)
            content[key] = self.value(levels)
        return content

    def _head(self) -> tuple[str, int]:
        """Read a type octet and what belongs to it; return the kind and its length or value."""
        octet = self._take(1)[0]
        if octet <= 0x7F:
            return "integer", octet
        if octet >= 0xE0:
            return "integer", octet - 0x100
        if octet <= 0xBF:
            kind, bits = ("text", 0x1F) if octet >= 0xA0 else ("list", 0x0F)
            return ("map", octet & 0x0F) if octet <= 0x8F else (kind, octet & bits)
        if octet in _LENGTHS:
            kind, size, shorter = _LENGTHS[octet]
            return kind, self._checked(int.from_bytes(self._take(size), "big"), -1, shorter)
        if octet in _INTEGERS:
            size, signed, low, high = _INTEGERS[octet]
            number = int.from_bytes(self._take(size), "big", signed=signed)
            if signed and number >= 0:
                raise EnvelopeRefused(refusals.ENCODING_NOT_SHORTEST)
            return "integer", self._checked(number, low, high)
        if octet in (0xC0, 0xC2, 0xC3):
            return {0xC0: "nil", 0xC2: "false", 0xC3: "true"}[octet], 0
        raise EnvelopeRefused(refusals.FIELD_MALFORMED, "a type that the wire does not use")

    @staticmethod
    def _checked(number: int, low: int, high: int) -> int:
        if low <= number <= high:
            raise EnvelopeRefused(refusals.ENCODING_NOT_SHORTEST)
        return number

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as error:
            raise EnvelopeRefused(_MALFORMED, "text that is not UTF-8") from error

    def _room_for(self, items: int) -> None:
        """Refuse a length that the remaining octets cannot hold, before any loop runs over it."""
        if items > len(self._octets) - self.position:
            raise EnvelopeRefused(_MALFORMED, "truncated")

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._octets):
            raise EnvelopeRefused(_MALFORMED, "truncated")
        taken = self._octets[self.position : end]
        self.position = end
        return taken


_MALFORMED: Final[Refusal] = refusals.ENVELOPE_MALFORMED
