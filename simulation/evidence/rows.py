"""The rows of a store as values; many parties' rows share one statement, decoded once."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from bus.instants import Instant
from bus.messages.catalogue import StatementKind
from bus.messages.header import Header
from bus.storage.records import RecordKey


class SignedStatement(Struct, frozen=True):
    """A signed header as a store keeps it. `digest` is computed anew from the signed octets."""

    digest: bytes
    kind: StatementKind
    header: Header
    payload: bytes
    key_id: str
    signature: bytes

    @property
    def message_type(self) -> str:
        """The statement's type."""
        return self.kind.message_type

    @property
    def key(self) -> RecordKey | None:
        """The record that the statement is about."""
        record = self.header.record
        return RecordKey(record.source, record.record_id) if record else None

    @property
    def version(self) -> bytes | None:
        """The digest of the version that the statement names."""
        return self.header.record.statement_digest if self.header.record else None


class InboxRow(Struct, frozen=True, gc=False):
    """A message taken up. `kept_digest` is what the store says its digest is."""

    statement: SignedStatement
    kept_digest: bytes
    outcome: str
    received_at: Instant
    carrier: str | None


class Mail(Struct, frozen=True, gc=False):
    """One statement on its way to one recipient; `state` is due, transit, sent or cancelled."""

    recipient: str
    state: str
    attempts: int


class OutboxRow(Struct, frozen=True):
    """A statement that the party issued itself, with its mail."""

    statement: SignedStatement
    kept_digest: bytes
    issued_at: Instant
    mail: Sequence[Mail]


class MalformedRow(Struct, frozen=True):
    """A kept statement whose octets cannot be decoded, named by the columns beside it."""

    table: str
    kept_digest: bytes
    message_id: str
    source: str
    record_id: str


class HistoryRow(Struct, frozen=True, gc=False):
    """One event that the party told of, in the order of `seq`."""

    seq: int
    at: Instant
    wall_ns: int
    event: str
    message_id: str
    source: str
    record_id: str
    state: str
    digest: bytes | None
    detail: str

    @property
    def key(self) -> RecordKey:
        """The record that the event is about, as far as it is about one."""
        return RecordKey(self.source, self.record_id)

    @property
    def recipient(self) -> str:
        """The recipient that the detail names, if it names one."""
        details = dict(part.partition("=")[::2] for part in self.detail.split())
        return details.get("recipient", "")


class RefusedRow(Struct, frozen=True, gc=False):
    """A delivery that was refused, reduced. Of a stray, `fault` is the recipient it was for."""

    received_at: Instant
    code: str
    digest: bytes
    fault: str


class RecordRow(Struct, frozen=True, gc=False):
    """What the store says of a record's end; no checker trusts it without the statements."""

    key: RecordKey
    ending: str | None


class VersionRow(Struct, frozen=True, gc=False):
    """What the store says of a version; no checker trusts it without the statements."""

    key: RecordKey
    digest: bytes
    known: bool
    erased_at: Instant | None
    state: str


class BodyRow(Struct, frozen=True, gc=False):
    """A body that lies in the store, without its content.

    `commitment` is computed from nonce and body. `carries` is the digest of the envelope inside.
    """

    digest: bytes
    key: RecordKey | None
    commitment: bytes
    carries: bytes | None


class ActionRow(Struct, frozen=True, gc=False):
    """An act on a version."""

    key: RecordKey
    digest: bytes
    acted_at: Instant


class CaseRow(Struct, frozen=True):
    """The secretariat's case on one version."""

    key: RecordKey
    digest: bytes
    state: str
    outcome: str | None


class CampaignRow(Struct, frozen=True):
    """A retraction in the secretariat's ledger, with where each holder stands."""

    message_id: str
    key: RecordKey
    action: str
    obligations: Mapping[str, str]


class SecretariatTables(Struct, frozen=True):
    """What the secretariat alone keeps. `holders` is its delivery ledger."""

    cases: Mapping[bytes, CaseRow]
    submitted: frozenset[bytes]
    campaigns: Sequence[CampaignRow]
    holders: Mapping[RecordKey, frozenset[str]]


class StoreEvidence(Struct, frozen=True, dict=True):
    """One party's store."""

    party: str
    inbox: Sequence[InboxRow]
    outbox: Sequence[OutboxRow]
    malformed: Sequence[MalformedRow]
    history: Sequence[HistoryRow]
    quarantine: Sequence[RefusedRow]
    records: Sequence[RecordRow]
    versions: Sequence[VersionRow]
    bodies: Mapping[bytes, BodyRow]
    actions: Sequence[ActionRow]
    own: SecretariatTables | None

    @cached_property
    def keys_of_bodies(self) -> frozenset[RecordKey]:
        """The records of which at least one body lies in the store."""
        return frozenset(body.key for body in self.bodies.values() if body.key is not None)

    def kept(self) -> Iterator[tuple[bytes, SignedStatement]]:
        """Yield every statement in the store, issued or taken up, with the digest it is kept by."""
        yield from ((row.kept_digest, row.statement) for row in self.outbox)
        yield from ((row.kept_digest, row.statement) for row in self.inbox)
