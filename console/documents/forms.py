"""Closed forms in words: what a field may hold, and which forms a struct leads to."""

import types
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields

from bus import identifiers
from bus.messages import case_file

Form = Any
"""A type as a struct's field declares it."""

_PLAIN: Final = {
    types.NoneType: "nil",
    None: "nil",
    bool: "boolean",
    int: "integer",
    str: "text",
    bytes: "binary",
}


def _aliases(*modules: ModuleType) -> dict[Form, str]:
    return {
        alias: name
        for module in modules
        for name, alias in vars(module).items()
        if get_origin(alias) is Annotated
    }


NAMED: Final[dict[Form, str]] = _aliases(identifiers, case_file)
"""Closed forms that have a name of their own, by the form."""


def in_words(form: Form) -> str:
    """Return what a field of this form holds, naming forms that are explained elsewhere."""
    if form in NAMED:
        return f"`{NAMED[form]}`"
    if form in _PLAIN:
        return _PLAIN[form]
    if isinstance(form, type) and issubclass(form, Struct | Enum):
        return f"`{form.__name__}`"
    inner: tuple[Form, ...] = get_args(form)
    origin: object = get_origin(form)
    if origin in (types.UnionType, Union):
        return " or ".join(in_words(option) for option in inner)
    if origin is Annotated:
        return in_words(inner[0]) + bounds(inner[1])
    if origin is list:
        return f"list of {in_words(inner[0])}"
    if origin is dict:
        return f"map of {in_words(inner[0])} to {in_words(inner[1])}"
    message = f"no words for {form}"
    raise TypeError(message)


def bounds(meta: Meta) -> str:
    """Return the limits that a form adds, with a comma before them."""
    parts = []
    if meta.min_length is not None and meta.min_length == meta.max_length:
        parts.append(f"exactly {meta.min_length} long")
    elif meta.max_length is not None:
        parts.append(f"{meta.min_length or 0} to {meta.max_length} long")
    if meta.ge is not None or meta.le is not None:
        parts.append(f"{meta.ge} to {meta.le}")
    if meta.pattern is not None:
        parts.append(f"pattern `{readable_pattern(meta.pattern)}`")
    if meta.description is not None:
        parts.append(meta.description)
    return "".join(f", {part}" for part in parts)


def readable_pattern(pattern: str) -> str:
    r"""Return a pattern without the `\Z` of Python, in the notation that other languages share."""
    return pattern.replace(r"\Z", "$")


def tag_of(form: type[Struct]) -> tuple[str, str] | None:
    """Return the name and value of the field that tells a struct from its siblings."""
    config = form.__struct_config__
    return (str(config.tag_field), str(config.tag)) if config.tag_field else None


def field_rows(form: type[Struct]) -> list[tuple[str, str]]:
    """Return name and words for each field of a struct, the telling one first."""
    tag = tag_of(form)
    rows = [(tag[0], f'`"{tag[1]}"`')] if tag else []
    return rows + [(field.encode_name, in_words(field.type)) for field in fields(form)]


def leads_to(form: Form) -> Iterator[type[Struct] | type[Enum]]:
    """Yield the structs and enumerations that a form needs explained, each once."""
    seen: dict[type[Struct | Enum], None] = {}
    waiting = [form]
    while waiting:
        current = waiting.pop(0)
        if isinstance(current, type) and issubclass(current, Struct | Enum):
            if current in seen:
                continue
            seen[current] = None
            if issubclass(current, Struct):
                waiting += [field.type for field in fields(current)]
        elif current not in NAMED:
            waiting += [part for part in get_args(current) if not isinstance(part, Meta)]
    yield from seen
