"""What handlers and ticks see of their party during one transaction."""

from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from bus.identifiers import IdentifierSource
from bus.instants import Instant
from bus.messages.catalogue import KINDS
from bus.registry import Registry
from bus.statements import Draft, IssuedStatement, Signer, sign
from bus.storage.database import Database
from bus.storage.history import History
from bus.storage.inbox import Inbox, Outcome, Quarantine
from bus.storage.outbox import Outbox
from bus.storage.records import RecordKey, Records
from bus.verification import VerifiedMessage, Verifier


class Effect(Struct, frozen=True):
    """What a handler made of a message; `state` is that of the record afterwards, if any."""

    outcome: Outcome
    state: str = ""


class Stores(Struct, frozen=True):
    """The tables that every party has, over one database."""

    database: Database
    inbox: Inbox
    quarantine: Quarantine
    outbox: Outbox
    records: Records
    history: History

    @classmethod
    def over(cls, database: Database) -> Self:
        """Return the tables of one database."""
        return cls(
            database,
            Inbox(database),
            Quarantine(database),
            Outbox(database),
            Records(database),
            History(database),
        )


class Turn:
    """One party at one instant, inside one transaction."""

    def __init__(
        self,
        now: Instant,
        wall_ns: int,
        stores: Stores,
        registry: Registry,
        signer: Signer,
        identifiers: IdentifierSource,
        verifier: Verifier,
        root_der: bytes,
    ) -> None:
        self.now = now
        self.party = signer.party
        self.stores = stores
        self.registry = registry
        self.identifiers = identifiers
        self.verifier = verifier
        self.root_der = root_der
        self._wall_ns = wall_ns
        self._signer = signer

    def issue(self, draft: Draft) -> IssuedStatement:
        """Sign a statement and put its mail into the outbox; parties that left get none."""
        issued = self.signed(draft)
        key = record_key(issued)
        if draft.body is not None:
            kind = KINDS[str(draft.header.__struct_config__.tag)]
            self._keep_own_body(issued, None if kind.body_outlives_record else key)
        recipients = [
            (code, max(self.now, draft.held_back.get(code, self.now)))
            for code in issued.statement.addressees
            if code != self.party and self.registry.takes_part(code)
        ]
        self.stores.outbox.add(
            issued.envelope,
            issued.message_id,
            (key.source, key.record_id) if key else None,
            self.now,
            recipients,
        )
        self.note(
            f"{issued.statement.__struct_config__.tag}_issued",
            message_id=issued.message_id,
            source=key.source if key else "",
            record_id=key.record_id if key else "",
            digest=issued.digest,
        )
        return issued

    def signed(self, draft: Draft) -> IssuedStatement:
        """Sign a statement without sending it."""
        queue = KINDS[str(draft.header.__struct_config__.tag)].queue
        return sign(draft, self._signer, self.identifiers, self._next_sequence(queue), self.now)

    def _next_sequence(self, queue: str) -> int:
        name = f"sequence_{queue}"
        sequence = int(str(self.stores.database.meta(name) or 0)) + 1
        self.stores.database.set_meta(name, sequence)
        return sequence

    def _keep_own_body(self, issued: IssuedStatement, key: RecordKey | None) -> None:
        attachment = issued.envelope.attachment
        nonce, body = getattr(attachment, "nonce", b""), getattr(attachment, "body", b"")
        self.stores.records.keep_body(issued.digest, key, nonce, body)

    def note(
        self,
        event: str,
        *,
        message_id: str = "",
        source: str = "",
        record_id: str = "",
        state: str = "",
        digest: bytes | None = None,
        detail: Mapping[str, str] | None = None,
    ) -> None:
        """Write one event into the history."""
        self.stores.history.add(
            self.now,
            self._wall_ns,
            event,
            message_id=message_id,
            source=source,
            record_id=record_id,
            state=state,
            digest=digest,
            detail=" ".join(f"{name}={value}" for name, value in (detail or {}).items()),
        )

    def note_message(self, event: str, message: VerifiedMessage, state: str = "") -> None:
        """Write one event about a message that came."""
        record = message.statement.record
        self.stores.history.add(
            self.now,
            self._wall_ns,
            event,
            message_id=message.statement.message_id,
            source=record.source if record else message.statement.source,
            record_id=record.record_id if record else "",
            state=state,
            digest=message.digest,
        )


def record_key(issued: IssuedStatement) -> RecordKey | None:
    """Return the record that an issued statement is about."""
    record = issued.statement.record
    return RecordKey(record.source, record.record_id) if record else None
