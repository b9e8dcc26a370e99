"""From copies of stores to evidence. A store that cannot be read is listed, and the rest stands."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeVar

import msgspec

from bus.envelope import body_commitment, digest_of_delivery, statement_digest
from bus.errors import StoreUnreadable
from bus.identifiers import SECRETARIAT
from bus.messages.catalogue import KINDS
from bus.messages.correspondence import EnvelopeBody
from bus.storage.records import RecordKey
from simulation.evidence.folds import FIRST_OUTCOME_EVENTS
from simulation.evidence.gathered import Evidence, RunFacts
from simulation.evidence.rows import (
    ActionRow,
    BodyRow,
    CampaignRow,
    CaseRow,
    HistoryRow,
    InboxRow,
    Mail,
    MalformedRow,
    OutboxRow,
    RecordRow,
    RefusedRow,
    SecretariatTables,
    SignedStatement,
    StoreEvidence,
    VersionRow,
)
from simulation.evidence.store_copies import StoreCopy, opened
from simulation.residue.truth import scan_run

T = TypeVar("T")
_UNDECODABLE: Final = (msgspec.DecodeError, KeyError, RecursionError, TypeError, UnicodeError)
_ENVELOPES: Final = msgspec.msgpack.Decoder(EnvelopeBody)


def read_evidence(
    facts: RunFacts,
    stores: Mapping[str, StoreCopy],
    *,
    queues: Mapping[str, Sequence[bytes]] | None = None,
    logs: Mapping[str, bytes] | None = None,
    exports: Mapping[str, bytes] | None = None,
    broker_disk: Mapping[str, bytes] | None = None,
    missing: Sequence[str] = (),
) -> Evidence:
    """Read what a run left behind, and scan all of it for copies of what was deleted.

    `queues` holds what waited in each queue, `logs` the logs by party, `exports` other files of
    the run by name, `broker_disk` the broker's own files by path. Whatever of a store cannot be
    read is listed in the evidence as missing, after the lines in `missing`.
    """
    lines = [*missing]
    reader = StoreReader()
    read: dict[str, StoreEvidence] = {}
    gaps = set()
    for party in facts.parties:
        if party not in stores:
            lines.append(f"store of {party} is not there")
            continue
        try:
            read[party] = reader.read(party, stores[party])
        except StoreUnreadable as error:
            lines.append(str(error))
            continue
        if holes := _holes(read[party]):
            gaps.add(party)
            lines += holes
    evidence = Evidence(facts, read, tuple(lines), frozenset(gaps), queues or {})
    result = scan_run(evidence, stores, logs or {}, exports or {}, broker_disk or {})
    return msgspec.structs.replace(evidence, scan=result)


def _holes(store: StoreEvidence) -> list[str]:
    """Say where a history is not whole: a row that is gone, a message that nothing tells of."""
    lines = []
    first = [0, *(row.seq for row in store.history)]
    for before, after in pairwise(first):
        if after != before + 1:
            lines.append(f"history of {store.party} has no rows {before + 1} to {after - 1}")
    told = {row.digest for row in store.history if row.event in FIRST_OUTCOME_EVENTS}
    untold = sum(row.kept_digest not in told for row in store.inbox)
    if untold:
        lines.append(f"history of {store.party} does not tell of {untold} messages in its inbox")
    return lines


class StoreReader:
    """Reads stores of one run; statements and names that many of them hold are kept once."""

    def __init__(self) -> None:
        self._statements: dict[tuple[bytes, bytes, str], SignedStatement | None] = {}
        self._keys: dict[tuple[str, str], RecordKey] = {}
        self._texts: dict[str, str] = {}

    def read(self, party: str, copy: StoreCopy) -> StoreEvidence:
        """Return what a party's store holds; raise `StoreUnreadable`."""
        try:
            with opened(party, copy) as store:
                return self._store(party, store)
        except (TypeError, ValueError) as error:
            message = f"store of {party} cannot be read: a column is of the wrong kind"
            raise StoreUnreadable(message) from error

    def _store(self, party: str, store: sqlite3.Connection) -> StoreEvidence:
        malformed: list[MalformedRow] = []
        refused = store.execute("SELECT received_at, code, digest, fault FROM quarantine")
        is_bureau = party != SECRETARIAT
        return StoreEvidence(
            party=party,
            inbox=self._inbox(store, malformed),
            outbox=self._outbox(store, malformed),
            malformed=malformed,
            history=self._history(store),
            quarantine=[RefusedRow(*row) for row in refused],
            records=self._keyed(store, RecordRow, "records", "ending"),
            versions=self._keyed(store, _version, "versions", "digest, known, erased_at, state"),
            bodies=self._bodies(store),
            actions=(
                self._keyed(store, ActionRow, "actions", "digest, acted_at") if is_bureau else []
            ),
            own=None if is_bureau else self._secretariat(store),
        )

    def _key(self, source: str, record_id: str) -> RecordKey:
        names = source, record_id
        if names not in self._keys:
            self._keys[names] = RecordKey(*names)
        return self._keys[names]

    def _text(self, text: str) -> str:
        return self._texts.setdefault(text, text)

    def _keyed(
        self, store: sqlite3.Connection, make: Callable[..., T], table: str, columns: str
    ) -> list[T]:
        rows = store.execute(f"SELECT source, record_id, {columns} FROM {table}")  # noqa: S608
        return [make(self._key(source, record_id), *rest) for source, record_id, *rest in rows]

    def _statement(
        self, message_type: str, payload: bytes, key_id: str, signature: bytes
    ) -> SignedStatement | None:
        name = payload, signature, key_id
        if name not in self._statements:
            self._statements[name] = _decoded(message_type, payload, key_id, signature)
        return self._statements[name]

    def _inbox(self, store: sqlite3.Connection, malformed: list[MalformedRow]) -> list[InboxRow]:
        rows = store.execute(
            "SELECT message_type, payload, key_id, signature, digest, outcome, received_at,"
            " carrier, message_id, record_source, record_id FROM inbox"
            " ORDER BY received_at, source, message_id"
        )
        found = []
        for message_type, payload, key_id, signature, digest, outcome, at, carrier, *names in rows:
            statement = self._statement(message_type, payload, key_id, signature)
            if statement is None:
                malformed.append(_malformed("inbox", digest, *names))
            else:
                found.append(InboxRow(statement, digest, self._text(outcome), at, carrier))
        return found

    def _outbox(self, store: sqlite3.Connection, malformed: list[MalformedRow]) -> list[OutboxRow]:
        mail: dict[str, list[Mail]] = {}
        for message_id, recipient, state, attempts in store.execute(
            "SELECT message_id, recipient, state, attempts FROM outbox_mail"
        ):
            letter = Mail(self._text(recipient), self._text(state), attempts)
            mail.setdefault(message_id, []).append(letter)
        found = []
        rows = store.execute(
            "SELECT message_type, payload, key_id, signature, digest, issued_at, message_id,"
            " record_source, record_id FROM outbox ORDER BY message_id"
        )
        for message_type, payload, key_id, signature, digest, issued_at, *names in rows:
            statement = self._statement(message_type, payload, key_id, signature)
            if statement is None:
                malformed.append(_malformed("outbox", digest, *names))
            else:
                letters = mail.get(statement.header.message_id, [])
                found.append(OutboxRow(statement, digest, issued_at, letters))
        return found

    def _history(self, store: sqlite3.Connection) -> list[HistoryRow]:
        text = self._text
        return [
            HistoryRow(
                seq, at, wall, text(event), text(message_id), text(source), text(record_id),
                text(state), digest, text(detail),
            )
            for seq, at, wall, event, message_id, source, record_id, state, digest, detail
            in store.execute(
                "SELECT seq, at, wall_ns, event, message_id, source, record_id, state, digest,"
                " detail FROM history ORDER BY seq"
            )
        ]  # fmt: skip

    def _bodies(self, store: sqlite3.Connection) -> dict[bytes, BodyRow]:
        rows = store.execute("SELECT digest, source, record_id, nonce, body FROM bodies")
        return {
            digest: BodyRow(
                digest,
                self._key(source, record_id) if source is not None else None,
                body_commitment(nonce, body),
                _carried(body),
            )
            for digest, source, record_id, nonce, body in rows
        }

    def _secretariat(self, store: sqlite3.Connection) -> SecretariatTables:
        cases = self._keyed(store, CaseRow, "cases", "digest, state, outcome")
        obligations: dict[str, dict[str, str]] = {}
        for message_id, member, state in store.execute(
            "SELECT message_id, member, state FROM obligations"
        ):
            obligations.setdefault(message_id, {})[member] = state
        holders: dict[RecordKey, set[str]] = {}
        for key, member in self._keyed(store, lambda *row: row, "holders", "member"):
            holders.setdefault(key, set()).add(member)
        return SecretariatTables(
            cases={case.digest: case for case in cases},
            submitted=frozenset(
                digest for (digest,) in store.execute("SELECT digest FROM submissions")
            ),
            campaigns=[
                CampaignRow(message_id, key, action, obligations.get(message_id, {}))
                for key, message_id, action in self._keyed(
                    store, lambda *row: row, "campaigns", "message_id, action"
                )
            ],
            holders={key: frozenset(members) for key, members in holders.items()},
        )


def _version(
    key: RecordKey, digest: bytes, known: int, erased_at: int | None, state: str
) -> VersionRow:
    return VersionRow(key, digest, bool(known), erased_at, state)


def _malformed(
    table: str, digest: bytes, message_id: str, source: str | None, record_id: str | None
) -> MalformedRow:
    return MalformedRow(table, digest, message_id, source or "", record_id or "")


def _decoded(
    message_type: str, payload: bytes, key_id: str, signature: bytes
) -> SignedStatement | None:
    try:
        kind = KINDS[message_type]
        header = msgspec.msgpack.decode(payload, type=kind.header)
    except _UNDECODABLE:
        return None
    digest = statement_digest(kind.payload_type, payload)
    return SignedStatement(digest, kind, header, payload, key_id, signature)


def _carried(body: bytes) -> bytes | None:
    """Return the digest of the envelope that a body carries, if it carries one."""
    try:
        return digest_of_delivery(_ENVELOPES.decode(body).envelope)
    except _UNDECODABLE:
        return None
