"""The signed header that all statements share. It survives deletion, so it holds no free text."""

from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from bus.identifiers import (
    Count,
    Digest,
    MessageId,
    PartyCode,
    RecordId,
    TimestampText,
    TraceParent,
)

ADDRESSEES_MAX: Final = 256
"""Parties one statement may address; the network has 196 members."""


class Closed(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of everything on the wire: fixed keys, nothing unknown, nothing optional."""


class Version(Closed, frozen=True):
    """A record, and the one of its versions that a statement is about.

    `statement_digest` is None exactly in the statement that opens the record. In an amendment it
    names the version replaced.
    """

    source: PartyCode
    record_id: RecordId
    statement_digest: Digest | None


class Header(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    gc=False,
    tag_field="message_type",
):
    """The fields that every statement has; each statement type adds its own `claims`.

    `sequence` counts per source and queue kind, for reports on gaps only. `expires_at` is None
    for what never expires.
    """

    tag: ClassVar[str] = ""

    message_id: MessageId
    source: PartyCode
    addressees: Annotated[
        list[PartyCode], Meta(min_length=1, max_length=ADDRESSEES_MAX, description="sorted")
    ]
    sequence: Count
    issued_at: TimestampText
    expires_at: TimestampText | None
    record: Version | None
    in_reply_to: MessageId | None
    traceparent: TraceParent
    body_commitment: Digest | None
