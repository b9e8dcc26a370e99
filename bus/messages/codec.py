"""Strict msgpack: one complete value of a closed form, shortest encodings, no key twice.

The quick path decodes with msgspec and encodes again: equal octets prove that every encoding was
the shortest and no key came twice. Only octets that differ are walked, value by value, to find
whether they merely order their keys otherwise (allowed) or break a rule, and which.
"""

import types
import typing
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from bus import refusals
from bus.messages.packed_walk import walk
from bus.refusals import EnvelopeRefused

NESTING_LEVELS_MAX: Final = 12

_encode: Final = msgspec.msgpack.Encoder().encode

T = TypeVar("T")
Shape = type[Struct] | None
"""The struct that octets should hold, where one is known, to name the key at fault."""


def encode(value: object) -> bytes:
    """Return the shortest msgpack form of a struct or builtin."""
    return _encode(value)


def decode(decoder: "msgspec.msgpack.Decoder[T]", octets: bytes, shape: Shape = None) -> T:
    """Return the decoded value, or raise `EnvelopeRefused` with the reason from the catalogue."""
    try:
        value = decoder.decode(octets)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _diagnosis(octets, shape) from error
    if _encode(value) != octets:
        content = walk(octets, NESTING_LEVELS_MAX)
        if content != msgspec.msgpack.decode(_encode(value)):
            raise EnvelopeRefused(refusals.FIELD_MALFORMED)
    return value


def _diagnosis(octets: bytes, shape: Shape) -> EnvelopeRefused:
    """Say which rule octets break that msgspec would not decode."""
    try:
        content = walk(octets, NESTING_LEVELS_MAX)
    except EnvelopeRefused as refused:
        return refused
    return _shape_fault(content, shape, "") or EnvelopeRefused(
        refusals.FIELD_MALFORMED if isinstance(content, dict) else refusals.ENVELOPE_MALFORMED
    )


def _shape_fault(content: object, shape: Shape, where: str) -> EnvelopeRefused | None:
    """Compare keys with the fields that a struct names, level by level."""
    if shape is None or not isinstance(content, dict):
        return None
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
    tag_field = shape.__struct_config__.tag_field
    if tag_field in content and content[tag_field] != shape.__struct_config__.tag:
        return EnvelopeRefused(refusals.PAYLOAD_TYPE_MISMATCH)
    names = set(fields) | ({tag_field} if tag_field else set())
    if unknown := [key for key in content if key not in names]:
        return EnvelopeRefused(refusals.FIELD_UNKNOWN, where or f"{len(unknown)} keys")
    if missing := sorted(names - set(content)):
        return EnvelopeRefused(refusals.FIELD_MISSING, where + missing[0])
    for name, kind in fields.items():
        held = content[name]
        for item in held if isinstance(held, list) else (held,):
            if fault := _shape_fault(item, _inner_shape(kind, item), f"{where}{name}."):
                return fault
    return None


def _inner_shape(kind: object, content: object) -> Shape:
    """Return the struct that a field or its list holds, seeing through unions and annotations."""
    while typing.get_origin(kind) in (list, typing.Annotated):
        kind = typing.get_args(kind)[0]
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    structs = [o for o in options if isinstance(o, type) and issubclass(o, Struct)]
    if len(structs) > 1 and isinstance(content, dict):
        structs = [
            option
            for option in structs
            if content.get(option.__struct_config__.tag_field) == option.__struct_config__.tag
        ]
    return structs[0] if structs else None
