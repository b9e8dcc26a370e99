"""Mail on its way: signed statements, and for each recipient whether the broker has confirmed.

The row is written in the transaction of what caused it. The relay publishes afterwards, as often
as it takes. Bodies are kept in one place only (`bus.storage.records`), so that erasing one erases
it from mail under way as well.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from bus.envelope import Plain, Signature, SignedEnvelope, pack
from bus.instants import Instant
from bus.messages.catalogue import KINDS
from bus.messages.header import Header
from bus.storage.database import Database

SCHEMA: Final = """
CREATE TABLE outbox (
    message_id TEXT PRIMARY KEY, digest BLOB NOT NULL, message_type TEXT NOT NULL,
    record_source TEXT, record_id TEXT, payload BLOB NOT NULL,
    key_id TEXT NOT NULL, signature BLOB NOT NULL, issued_at INTEGER NOT NULL,
    has_body INTEGER NOT NULL
);
CREATE TABLE outbox_mail (
    message_id TEXT NOT NULL, recipient TEXT NOT NULL, due_at INTEGER NOT NULL,
    state TEXT NOT NULL, confirmed_at INTEGER, attempts INTEGER NOT NULL,
    PRIMARY KEY (message_id, recipient)
) WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox_mail (due_at, message_id, recipient) WHERE state = 'due';
"""


class MailState(StrEnum):
    """Where mail to one recipient stands."""

    DUE = "due"
    TRANSIT = "transit"
    """The relay has it in its hands until its time, as a delay on the line; due after a crash."""
    SENT = "sent"
    CANCELLED = "cancelled"
    """The body was erased before the mail could leave, so nothing left."""


class Mail(Struct, frozen=True):
    """One statement for one recipient, and when it may be published."""

    message_id: str
    recipient: str
    leaves_at: Instant
    message_type: str
    content: bytes


class Outbox:
    """Statements that this party issued, and their mail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        envelope: SignedEnvelope,
        message_id: str,
        record: tuple[str, str] | None,
        now: Instant,
        due: Iterable[tuple[str, Instant]],
    ) -> None:
        """Keep a statement and the mail to each recipient with the time at which it may leave."""
        signature = envelope.signatures[0]
        source, record_id = record or (None, None)
        self._database.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message_id,
                envelope.digest,
                _type_of(envelope.payload_type),
                source,
                record_id,
                envelope.payload,
                signature.keyid,
                signature.sig,
                now,
                envelope.attachment is not None,
            ),
        )
        self._database.connection.executemany(
            "INSERT INTO outbox_mail VALUES (?, ?, ?, 'due', NULL, 0)",
            [(message_id, recipient, due_at) for recipient, due_at in due],
        )

    def send_again(self, message_id: str, recipient: str, now: Instant) -> None:
        """Put the same octets on their way once more.

        What left at this very instant does not leave again: otherwise it would depend on the
        sizes of batches how often a receipt answers a retraction and its repeats.
        """
        self._database.execute(
            "UPDATE outbox_mail SET state = 'due', due_at = ?1 WHERE message_id = ?2"
            " AND recipient = ?3 AND state != 'cancelled'"
            " AND NOT (state = 'sent' AND confirmed_at = ?1)",
            (now, message_id, recipient),
        )

    def take_mail(self, now: Instant, limit: int, parked: Sequence[str] = ()) -> list[Mail]:
        """Hand mail to the relay, without that to recipients whose mail is parked.

        What may only leave later is marked as in transit. Mail whose body has been erased
        meanwhile is cancelled.
        """
        rows = self._database.execute(
            "SELECT message_id, recipient, due_at FROM outbox_mail WHERE state = 'due'"  # noqa: S608
            f" AND recipient NOT IN ({_marks(parked)}) ORDER BY due_at, message_id, recipient"
            " LIMIT ?",
            (*parked, limit),
        ).fetchall()
        contents: dict[str, tuple[str, bytes] | None] = {}
        mail = []
        for message_id, recipient, due_at in rows:
            if message_id not in contents:
                contents[message_id] = self._content(message_id)
            content = contents[message_id]
            if content is None:
                self._cancel(message_id, recipient)
                continue
            if due_at > now:
                self._hold_in_transit(message_id, recipient)
            mail.append(Mail(message_id, recipient, due_at, *content))
        return mail

    def recover(self) -> None:
        """After a start: what a relay had in its hands when it died is due again."""
        self._database.execute("UPDATE outbox_mail SET state = 'due' WHERE state = 'transit'")

    def _content(self, message_id: str) -> tuple[str, bytes] | None:
        """Return type and wire form of a statement, or None when its body is gone."""
        row = self._database.execute(
            "SELECT message_type, payload, key_id, signature, has_body, nonce, body FROM outbox"
            " LEFT JOIN bodies USING (digest) WHERE message_id = ?",
            (message_id,),
        ).fetchone()
        message_type, payload, key_id, signature, has_body, nonce, body = row
        if has_body and body is None:
            return None
        attachment = Plain(nonce, body) if has_body else None
        envelope = SignedEnvelope(
            KINDS[message_type].payload_type, payload, [Signature(key_id, signature)], attachment
        )
        return message_type, pack(envelope)

    def content(self, message_id: str) -> bytes | None:
        """Return the wire form of a statement that this party issued, while its body lasts."""
        content = self._content(message_id)
        return content[1] if content else None

    def versions_of(self, source: str, record_id: str) -> tuple[Header, bytes]:
        """Return the statement that opened an own record, and the digest of its newest version.

        Raises `LookupError` for a record that this party did not open.
        """
        rows = self._database.execute(
            "SELECT message_type, payload, digest FROM outbox WHERE record_source = ?"
            " AND record_id = ? AND message_type IN ('diffusion', 'amendment')"
            " ORDER BY message_id",
            (source, record_id),
        ).fetchall()
        if not rows:
            message = f"no record {source}/{record_id} was opened here"
            raise LookupError(message)
        message_type, payload, _ = rows[0]
        opening = msgspec.msgpack.decode(payload, type=KINDS[message_type].header)
        return opening, rows[-1][2]

    def confirmed(self, mail: Iterable[tuple[str, str]], now: Instant) -> None:
        """Note (message id, recipient) pairs that the broker has stored."""
        self._database.connection.executemany(
            "UPDATE outbox_mail SET state = 'sent', confirmed_at = ?, attempts = attempts + 1"
            " WHERE message_id = ? AND recipient = ?",
            [(now, message_id, recipient) for message_id, recipient in mail],
        )

    def spent_doubts(self, message_ids: Iterable[str]) -> list[bytes]:
        """Return the digests of those statements that are doubts and have no mail left to send."""
        rows = (
            self._database.execute(
                "SELECT digest FROM outbox WHERE message_id = ?1 AND message_type = 'doubt' AND NOT"
                " EXISTS (SELECT 1 FROM outbox_mail WHERE message_id = ?1"
                " AND state IN ('due', 'transit'))",
                (message_id,),
            ).fetchone()
            for message_id in message_ids
        )
        return [row[0] for row in rows if row is not None]

    def carriers_of(self, source: str, record_id: str, version: bytes) -> list[bytes]:
        """Return the digests of own statements in whose bodies a version's envelope lies.

        An update retraction is none of them: it names one version and carries another.
        """
        rows = self._database.execute(
            "SELECT message_type, payload, digest FROM outbox WHERE record_source = ?"
            " AND record_id = ? AND message_type IN ('doubt', 'release')",
            (source, record_id),
        )
        return [
            digest
            for message_type, payload, digest in rows
            if _version_named(message_type, payload) == version
        ]

    def _cancel(self, message_id: str, recipient: str) -> None:
        """Give mail up whose body is gone; what has left once before stays sent."""
        self._database.execute(
            "UPDATE outbox_mail SET state = CASE WHEN confirmed_at IS NULL THEN 'cancelled'"
            " ELSE 'sent' END WHERE message_id = ? AND recipient = ?",
            (message_id, recipient),
        )

    def _hold_in_transit(self, message_id: str, recipient: str) -> None:
        self._database.execute(
            "UPDATE outbox_mail SET state = 'transit' WHERE message_id = ? AND recipient = ?",
            (message_id, recipient),
        )

    def attempted(self, mail: Iterable[tuple[str, str]]) -> None:
        """Count a try that the broker did not confirm; the mail stays due."""
        self._database.connection.executemany(
            "UPDATE outbox_mail SET state = 'due', attempts = attempts + 1 WHERE message_id = ?"
            " AND recipient = ?",
            list(mail),
        )


def _version_named(message_type: str, payload: bytes) -> bytes | None:
    statement = msgspec.msgpack.decode(payload, type=KINDS[message_type].header)
    return statement.record.statement_digest if statement.record else None


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def _type_of(payload_type: str) -> str:
    return payload_type.removeprefix("application/vnd.i247.").partition(".")[0]
