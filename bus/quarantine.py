"""Reducing a refused delivery to what is safe to keep.

Only header fields that pass their closed forms are kept, so that neither personal data nor an
attacker's text enters a log by way of a refusal.
"""

from typing import Final

import msgspec

from bus.identifiers import MessageId, PartyCode, RecordId
from bus.messages.catalogue import KINDS


class _Envelope(msgspec.Struct):
    payload: bytes


class _Record(msgspec.Struct):
    source: PartyCode
    record_id: RecordId


class _MessageType(msgspec.Struct):
    message_type: str


class _MessageId(msgspec.Struct):
    message_id: MessageId


class _Source(msgspec.Struct):
    source: PartyCode


class _WithRecord(msgspec.Struct):
    record: _Record


_FORMS: Final[tuple[type[msgspec.Struct], ...]] = (_MessageType, _MessageId, _Source, _WithRecord)
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeError)


def reduced_fields(octets: bytes) -> dict[str, str | None]:
    """Return those of message type, id, source and record that have their proper form."""
    try:
        payload = msgspec.msgpack.decode(octets, type=_Envelope).payload
    except _UNREADABLE:
        return {}
    fields: dict[str, str | None] = {}
    for form in _FORMS:
        try:
            part = msgspec.msgpack.decode(payload, type=form)
        except _UNREADABLE:
            continue
        if isinstance(part, _MessageType):
            known = part.message_type in KINDS
            fields["message_type"] = part.message_type if known else None
        elif isinstance(part, _MessageId):
            fields["message_id"] = part.message_id
        elif isinstance(part, _Source):
            fields["source"] = part.source
        elif isinstance(part, _WithRecord):
            fields["record_source"] = part.record.source
            fields["record_id"] = part.record.record_id
    return fields
