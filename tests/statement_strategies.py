"""Hypothesis strategies for whatever the catalogue allows: any field of any closed form."""

from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Any, Final, get_args

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from bus.identifiers import AUTHORITY, COMMISSION, SECRETARIAT, Role, TimestampText
from bus.instants import instant_to_text
from bus.messages.catalogue import KINDS, RecordRule, StatementKind
from bus.messages.header import Closed
from tests.factories import MEMBERS

PARTIES_OF_ROLE: Final = {
    Role.NCB: MEMBERS,
    Role.SECRETARIAT: (SECRETARIAT,),
    Role.CCF: (COMMISSION,),
    Role.AUTHORITY: (AUTHORITY,),
}
MANY_MAX: Final = 3
CHARACTERS_MAX: Final = 20
OCTETS_MAX: Final = 40
YEAR_9999_ENDS: Final = 253_402_300_799_999
TIMESTAMP_PATTERN: Final = get_args(TimestampText)[1].pattern
Records = Sequence[tuple[str, str, bytes]]
"""Source, record id and version of records that statements should be about now and then."""


@cache
def of_form(form: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401  (any type msgspec knows)
    """Return values of a type as builtins, each within its closed form."""
    return _of_info(inspect.type_info(form))


def _of_info(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.Metadata(type=inner):
            return _of_info(inner)
        case inspect.ListType(item_type=item, min_length=least):
            return st.lists(_of_info(item), min_size=least or 0, max_size=MANY_MAX)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of_info(key), _of_info(value), max_size=MANY_MAX)
        case inspect.UnionType(types=options):
            return st.one_of([_of_info(option) for option in options])
        case inspect.StructType(fields=fields):
            return st.fixed_dictionaries(
                {field.encode_name: _of_info(field.type) for field in fields}
            )
        case _:
            return _of_scalar(info)


def _of_scalar(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=least, le=most):
            return st.integers(least, most)
        case inspect.StrType():
            return _of_text(info)
        case inspect.BytesType(min_length=least, max_length=most):
            return st.binary(min_size=least or 0, max_size=most or OCTETS_MAX)
        case inspect.EnumType(cls=enum):
            return st.sampled_from([_value(each) for each in enum])
        case _:
            message = f"no strategy for {info}"
            raise TypeError(message)


def _of_text(info: inspect.StrType) -> st.SearchStrategy[str]:
    if info.pattern is None:
        return st.text(max_size=min(info.max_length or CHARACTERS_MAX, CHARACTERS_MAX))
    if info.pattern == TIMESTAMP_PATTERN:
        return st.integers(0, YEAR_9999_ENDS).map(instant_to_text)
    return st.from_regex(info.pattern.removesuffix(r"\Z"), fullmatch=True).filter(
        lambda text: not text.endswith("\n")
    )


def _value(member: Enum) -> object:
    return member.value


@st.composite
def headers(draw: st.DrawFn, kind: StatementKind, records: Records) -> Any:  # noqa: ANN401
    """Return the fields of a statement that its signer may make, about known records or others."""
    role = draw(st.sampled_from(sorted(kind.signers)))
    source = draw(st.sampled_from(PARTIES_OF_ROLE[role]))
    fields = draw(of_form(kind.header))
    fields |= {"message_type": kind.message_type, "source": source, "expires_at": None}
    fields["addressees"] = sorted({*MEMBERS, SECRETARIAT})
    fields["record"] = draw(_record(kind.record, source, records))
    fields["body_commitment"] = None
    return fields


@st.composite
def _record(
    draw: st.DrawFn, rule: RecordRule, source: str, records: Records
) -> dict[str, object] | None:
    if rule is RecordRule.NONE:
        return None
    own = rule in (RecordRule.OPENS, RecordRule.OWN_VERSION)
    candidates = [each for each in records if not own or each[0] == source]
    known = draw(st.booleans())
    if candidates and known:
        owner, record_id, digest = draw(st.sampled_from(candidates))
    else:
        owner = source if own else draw(st.sampled_from(MEMBERS))
        record_id = f"00000000-0000-4000-8000-{draw(st.integers(0, 9)):012d}"
        digest = bytes([draw(st.integers(0, 3))]) * 32
    opens = rule is RecordRule.OPENS
    return {"source": owner, "record_id": record_id, "statement_digest": None if opens else digest}


def kinds() -> st.SearchStrategy[StatementKind]:
    """Return any statement type."""
    return st.sampled_from(list(KINDS.values()))


def bodies(form: type[Closed]) -> st.SearchStrategy[bytes]:
    """Return the octets of any body of a form."""
    return of_form(form).map(msgspec.msgpack.encode)
