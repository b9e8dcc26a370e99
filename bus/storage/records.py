"""Records and their versions at one holder, and the one table in which bodies lie."""

from typing import Final

from msgspec import Struct

from bus.instants import Instant
from bus.messages.review import ReviewOutcome
from bus.standing import NOTHING_KNOWN, Ending, Standing, VersionStanding
from bus.storage.database import Database

SCHEMA: Final = """
CREATE TABLE records (
    source TEXT NOT NULL, record_id TEXT NOT NULL, ending TEXT,
    block_number INTEGER NOT NULL, blocked INTEGER NOT NULL,
    commission_number INTEGER NOT NULL, commission_blocked INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (source, record_id)
) WITHOUT ROWID;
CREATE TABLE versions (
    source TEXT NOT NULL, record_id TEXT NOT NULL, digest BLOB NOT NULL, known INTEGER NOT NULL,
    replaces BLOB, review_number INTEGER NOT NULL, decision_number INTEGER NOT NULL, outcome TEXT,
    message_id TEXT, stored_at INTEGER, erased_at INTEGER, state TEXT NOT NULL,
    PRIMARY KEY (source, record_id, digest)
) WITHOUT ROWID;
CREATE TABLE kept_bodies (
    digest BLOB PRIMARY KEY, source TEXT, record_id TEXT, nonce BLOB NOT NULL, body BLOB NOT NULL
);
CREATE INDEX bodies_record ON kept_bodies (source, record_id);
CREATE VIEW bodies AS SELECT * FROM kept_bodies WHERE length(body) > 0;
CREATE TABLE numbered (
    source TEXT NOT NULL, record_id TEXT NOT NULL, issuer TEXT NOT NULL, number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (source, record_id, issuer, number)
) WITHOUT ROWID;
"""

_EMPTY: Final = "UPDATE kept_bodies SET nonce = x'', body = x'' WHERE length(body) > 0"
"""How bodies are erased: emptied where they lie, and the row stays (ADR 0013).

A deleted row can make SQLite merge pages, which copies the live rows beside it and leaves their
old octets in free space; `secure_delete` does not reach those when such a row is erased later.
"""


class RecordKey(Struct, frozen=True, order=True):
    """What names a record: its source and the record id."""

    source: str
    record_id: str


class StoredVersion(Struct, frozen=True):
    """When and under which message a version came to this holder."""

    digest: bytes
    message_id: str
    stored_at: Instant


class Records:
    """The standings that this holder has computed, and the bodies it may still read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, key: RecordKey) -> Standing:
        """Return the standing of a record; `NOTHING_KNOWN` for one never heard of."""
        row = self._database.execute(
            "SELECT ending, block_number, blocked, commission_number, commission_blocked"
            " FROM records WHERE source = ? AND record_id = ?",
            (key.source, key.record_id),
        ).fetchone()
        if row is None:
            return NOTHING_KNOWN
        versions = self._database.execute(
            "SELECT digest, known, replaces, review_number, decision_number, outcome"
            " FROM versions WHERE source = ? AND record_id = ?",
            (key.source, key.record_id),
        )
        return Standing(
            ending=Ending(row[0]) if row[0] else None,
            block_number=row[1],
            blocked=bool(row[2]),
            commission_number=row[3],
            commission_blocked=bool(row[4]),
            versions={digest: _version(*rest) for digest, *rest in versions},
        )

    def put(
        self,
        key: RecordKey,
        before: Standing,
        after: Standing,
        now: Instant,
        arrival: StoredVersion | None = None,
    ) -> None:
        """Keep what changed between two standings of a record.

        `arrival` says which version came with this change; its first arrival stands.
        """
        if after is before:
            return
        head = _head(after)
        if before is NOTHING_KNOWN or _head(before) != head:
            self._database.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " ending = excluded.ending, block_number = excluded.block_number,"
                " blocked = excluded.blocked, commission_number = excluded.commission_number,"
                " commission_blocked = excluded.commission_blocked,"
                " ended_at = coalesce(ended_at, excluded.ended_at)",
                (key.source, key.record_id, *head, now if after.ended else None),
            )
        head_changed = _head(before) != head
        shown_differs = head_changed or len(after.versions) > 1
        for digest, version in after.versions.items():
            if before.versions.get(digest) != version:
                came = arrival if arrival is not None and arrival.digest == digest else None
                self._put_version(key, digest, version, after.state_of(digest), came)
            elif shown_differs:
                self._database.execute(
                    "UPDATE versions SET state = ? WHERE source = ? AND record_id = ?"
                    " AND digest = ?",
                    (after.state_of(digest), key.source, key.record_id, digest),
                )

    def _put_version(
        self,
        key: RecordKey,
        digest: bytes,
        version: VersionStanding,
        state: str,
        came: StoredVersion | None,
    ) -> None:
        self._database.execute(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"
            " ON CONFLICT DO UPDATE SET known = excluded.known, replaces = excluded.replaces,"
            " review_number = excluded.review_number, outcome = excluded.outcome,"
            " decision_number = excluded.decision_number, state = excluded.state,"
            " message_id = coalesce(message_id, excluded.message_id),"
            " stored_at = coalesce(stored_at, excluded.stored_at)",
            (
                key.source,
                key.record_id,
                digest,
                version.known,
                version.replaces,
                version.review_number,
                version.decision_number,
                version.outcome,
                came.message_id if came else None,
                came.stored_at if came else None,
                state,
            ),
        )

    def arrival(self, key: RecordKey, digest: bytes) -> StoredVersion | None:
        """Return when a version came, or None when it has not."""
        row = self._database.execute(
            "SELECT message_id, stored_at FROM versions WHERE source = ? AND record_id = ?"
            " AND digest = ? AND stored_at IS NOT NULL",
            (key.source, key.record_id, digest),
        ).fetchone()
        return StoredVersion(digest, *row) if row else None

    def keep_body(self, digest: bytes, key: RecordKey | None, nonce: bytes, body: bytes) -> None:
        """Keep the detached body of a statement, under the record that it speaks of."""
        self._database.execute(
            "INSERT OR IGNORE INTO kept_bodies VALUES (?, ?, ?, ?, ?)",
            (digest, key.source if key else None, key.record_id if key else None, nonce, body),
        )

    def body(self, digest: bytes) -> tuple[bytes, bytes] | None:
        """Return nonce and body of a statement, or None when there is none or it was erased."""
        row = self._database.execute(
            "SELECT nonce, body FROM bodies WHERE digest = ?", (digest,)
        ).fetchone()
        return (row[0], row[1]) if row else None

    def version_bodies(self, key: RecordKey) -> list[bytes]:
        """Return the bodies kept of a record's versions, those of correspondence left out."""
        rows = self._database.execute(
            "SELECT body FROM bodies JOIN versions USING (source, record_id, digest)"
            " WHERE source = ? AND record_id = ? AND known ORDER BY digest",
            (key.source, key.record_id),
        )
        return [body for (body,) in rows]

    def erase_body(self, key: RecordKey, digest: bytes, now: Instant) -> bool:
        """Erase one version's nonce and body; tell whether there was one."""
        self._database.content_erased()
        erased = self._database.execute(f"{_EMPTY} AND digest = ?", (digest,)).rowcount
        self._database.execute(
            "UPDATE versions SET erased_at = ? WHERE source = ? AND record_id = ? AND digest = ?"
            " AND erased_at IS NULL AND stored_at IS NOT NULL",
            (now, key.source, key.record_id, digest),
        )
        return erased > 0

    def erase_record(self, key: RecordKey, now: Instant) -> int:
        """Erase every body kept under a record, carriers included; return how many there were."""
        self._database.content_erased()
        erased = self._database.execute(
            f"{_EMPTY} AND source = ? AND record_id = ?", (key.source, key.record_id)
        ).rowcount
        self._database.execute(
            "UPDATE versions SET erased_at = ? WHERE source = ? AND record_id = ?"
            " AND erased_at IS NULL AND stored_at IS NOT NULL",
            (now, key.source, key.record_id),
        )
        return erased

    def drop_body(self, digest: bytes) -> None:
        """Erase a carrier's body, such as that of a doubt, once it has done its work."""
        self._database.content_erased()
        self._database.execute(f"{_EMPTY} AND digest = ?", (digest,))

    def number_taken(self, key: RecordKey, issuer: str, number: int, digest: bytes) -> bool:
        """Note an issuer's number on a record; tell whether another statement already bore it."""
        self._database.execute(
            "INSERT OR IGNORE INTO numbered VALUES (?, ?, ?, ?, ?)",
            (key.source, key.record_id, issuer, number, digest),
        )
        (kept,) = self._database.execute(
            "SELECT digest FROM numbered WHERE source = ? AND record_id = ? AND issuer = ?"
            " AND number = ?",
            (key.source, key.record_id, issuer, number),
        ).fetchone()
        return bool(kept != digest)

    def waiting_for(self, source: str) -> int:
        """Count records of a source that were only spoken of and have not come."""
        (count,) = self._database.execute(
            "SELECT count(*) FROM records WHERE source = ? AND NOT EXISTS (SELECT 1 FROM versions"
            " WHERE versions.source = records.source AND versions.record_id = records.record_id"
            " AND known)",
            (source,),
        ).fetchone()
        return int(count)


def _head(standing: Standing) -> tuple[object, ...]:
    return (
        standing.ending,
        standing.block_number,
        standing.blocked,
        standing.commission_number,
        standing.commission_blocked,
    )


def _version(
    known: int, replaces: bytes | None, review: int, decision: int, outcome: str | None
) -> VersionStanding:
    return VersionStanding(
        known=bool(known),
        replaces=replaces,
        review_number=review,
        decision_number=decision,
        outcome=ReviewOutcome(outcome) if outcome else None,
    )
