"""Finding canaries in octets, whatever form a copy has taken. Pure.

Looked for are the raw octets, hexadecimal in both cases, base64 at its three offsets (standard and
URL-safe), UTF-16 in both byte orders, and all of these inside gzip and zlib members. The marker
that all canaries of a run share is searched first, in each form; only around a find is the octets'
meaning worked out.
"""

import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from simulation.canaries import Canaries

COMPRESSED_LEVELS_MAX: Final = 3
"""Compressed members inside compressed members that are opened."""
DECOMPRESSED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one compressed member; nothing that a node could keep is longer."""
_PIECE_BYTES: Final = 4_096
_GZIP_START: Final = b"\x1f\x8b\x08"
_ZLIB_STARTS: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_GZIP_WINDOW: Final = 31
_ZLIB_WINDOW: Final = 15
_GROUP_CHARACTERS: Final = 4
_GROUP_BYTES: Final = 3
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*")
_STANDARD_OF_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
CANARY_CHARACTERS: Final = len(Canaries("").of_person(""))
"""Characters of a canary beside the marker."""


class Find(Struct, frozen=True):
    """A whole canary, the form in which it lay there, and where its marker begins."""

    canary: str
    encoding: str
    offset: int


class CanarySearch:
    """Finds the canaries of one run."""

    def __init__(self, canaries: Canaries) -> None:
        self.marker = canaries.marker.encode()
        self.length = len(self.marker) + CANARY_CHARACTERS
        self.pattern = re.compile(canaries.pattern.pattern.encode())

    def finds(self, octets: bytes, levels: int = COMPRESSED_LEVELS_MAX) -> Iterator[Find]:
        """Yield every canary in some octets; one that lies there in two forms comes twice."""
        yield from self._plain(octets)
        yield from self._hexadecimal(octets)
        yield from self._utf_16(octets)
        yield from self._base64(octets)
        if levels:
            for offset, name, content in _decompressed(octets):
                for find in self.finds(content, levels - 1):
                    yield Find(find.canary, f"{find.encoding} in {name}", offset)

    def _whole(self, candidate: bytes) -> str | None:
        found = self.pattern.match(candidate)
        return found.group().decode() if found else None

    def _plain(self, octets: bytes) -> Iterator[Find]:
        for found in self.pattern.finditer(octets):
            yield Find(found.group().decode(), "raw", found.start())

    def _hexadecimal(self, octets: bytes) -> Iterator[Find]:
        marker = self.marker.hex()
        for name, wanted in (("hex", marker), ("hex upper case", marker.upper())):
            for offset in _offsets(octets, wanted.encode()):
                window = octets[offset : offset + 2 * self.length]
                digits = re.match(rb"(?:[0-9A-Fa-f]{2})*", window)
                canary = self._whole(bytes.fromhex(digits.group().decode())) if digits else None
                if canary:
                    yield Find(canary, name, offset)

    def _utf_16(self, octets: bytes) -> Iterator[Find]:
        for name, codec in (("UTF-16 LE", "utf-16-le"), ("UTF-16 BE", "utf-16-be")):
            for offset in _offsets(octets, self.marker.decode().encode(codec)):
                window = octets[offset : offset + 2 * self.length]
                text = window.decode(codec, "replace").encode("ascii", "replace")
                if canary := self._whole(text):
                    yield Find(canary, name, offset)

    def _base64(self, octets: bytes) -> Iterator[Find]:
        for shift in range(_GROUP_BYTES):
            encoded = b64encode(bytes(shift) + self.marker)
            begin = -(-shift * 8 // 6)  # characters that neighbouring octets share in are left out
            end = (shift + len(self.marker)) * 8 // 6
            groups = -(-(shift + self.length) // _GROUP_BYTES)
            for offset in _offsets(octets, encoded[begin:end]):
                start = max(offset - begin, 0)
                window = octets[start : start + groups * _GROUP_CHARACTERS]
                canary = self.pattern.search(_from_base64(window))
                if canary:
                    yield Find(canary.group().decode(), f"base64 at offset {shift}", offset)


def _from_base64(window: bytes) -> bytes:
    found = _BASE64.match(window.translate(_STANDARD_OF_URL_SAFE))
    characters = found.group() if found else b""
    if len(characters) % _GROUP_CHARACTERS == 1:
        characters = characters[:-1]
    return b64decode(characters + b"=" * (-len(characters) % _GROUP_CHARACTERS))


def _offsets(octets: bytes, wanted: bytes) -> Iterator[int]:
    offset = octets.find(wanted)
    while offset >= 0:
        yield offset
        offset = octets.find(wanted, offset + 1)


def _decompressed(octets: bytes) -> Iterator[tuple[int, str, bytes]]:
    for offset in _offsets(octets, _GZIP_START):
        yield offset, "gzip", _inflated(octets, offset, _GZIP_WINDOW)
    for start in _ZLIB_STARTS:
        for offset in _offsets(octets, start):
            yield offset, "zlib", _inflated(octets, offset, _ZLIB_WINDOW)


def _inflated(octets: bytes, offset: int, window: int) -> bytes:
    """Return what can be inflated from there on; most starts are none and end at once."""
    inflater = zlib.decompressobj(window)
    content = bytearray()
    try:
        while not inflater.eof and offset < len(octets) and len(content) < DECOMPRESSED_BYTES_MAX:
            piece = octets[offset : offset + _PIECE_BYTES]
            offset += _PIECE_BYTES
            content += inflater.decompress(piece, DECOMPRESSED_BYTES_MAX - len(content))
    except zlib.error:
        pass  # what came out before the break still counts
    return bytes(content)
