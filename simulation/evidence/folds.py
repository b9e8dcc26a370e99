"""What statements amount to, computed again from the statements alone.

A node keeps columns that say how a record stands. Whether it did right is judged without them:
its history tells in which order it took statements up, and these are folded anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from bus.identifiers import SECRETARIAT
from bus.instants import Instant, instant_from_text
from bus.messages.catalogue import KINDS
from bus.messages.retraction import Retraction, RetractionSet, RetractionSetClaims
from bus.messages.review import ReviewOutcome
from bus.retraction_sets import FIRST_HASH, running_hash
from bus.standing import NOTHING_KNOWN, Ending, Standing, fold
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey
from simulation.evidence.rows import HistoryRow, SignedStatement, StoreEvidence

VERSION_TYPES: Final = frozenset({"diffusion", "amendment", "notice_request", "notice"})
"""Statements that carry a version of a record."""
FIRST_OUTCOME_EVENTS: Final[Mapping[str, tuple[str, Outcome]]] = {
    f"{message_type}_{outcome}": (message_type, outcome)
    for message_type in KINDS
    for outcome in Outcome
}
"""The events that tell of a message's first outcome, with its type and that outcome."""
ISSUED_EVENTS: Final = frozenset(f"{message_type}_issued" for message_type in KINDS)


class Step(Struct, frozen=True):
    """One event of a history: the statement that took effect with it, and what it changed."""

    row: HistoryRow
    statement: SignedStatement | None
    changed: Sequence[tuple[RecordKey, Standing, Standing]] = ()


class Replay:
    """A party's statements folded in the order of its history.

    Between two steps `standing` and `set_issued_at` tell what the party knew just then.
    """

    def __init__(self, store: StoreEvidence, replacements: Mapping[bytes, bytes]) -> None:
        self._party = store.party
        self._history = store.history
        self._taken_up = {row.kept_digest: row.statement for row in store.inbox}
        self._issued = {row.kept_digest: row.statement for row in store.outbox}
        self._replacements = replacements
        self._standings: dict[RecordKey, Standing] = {}
        self._unreadable: set[bytes | None] = set()
        self._set_number = 0
        self._set_hash = FIRST_HASH
        self.set_issued_at: Instant | None = None

    def standing(self, key: RecordKey) -> Standing:
        """Return how a record stood at the present step."""
        return self._standings.get(key, NOTHING_KNOWN)

    def steps(self) -> Iterator[Step]:
        """Go through the history once."""
        for row in self._history:
            if row.event == "inner_envelope_refused":
                self._unreadable.add(row.digest)
            statement = self._effective(row)
            if statement is None:
                yield Step(row, None)
            elif isinstance(statement.header, RetractionSet):
                yield Step(row, statement, self._follow(statement.header))
            else:
                yield Step(row, statement, self._folded(statement, row.digest or b""))

    def _effective(self, row: HistoryRow) -> SignedStatement | None:
        if row.digest is None:
            return None
        if row.event in FIRST_OUTCOME_EVENTS:
            return self._taken_up.get(row.digest)
        return self._issued.get(row.digest) if row.event in ISSUED_EVENTS else None

    def _folded(
        self, statement: SignedStatement, digest: bytes
    ) -> list[tuple[RecordKey, Standing, Standing]]:
        key = statement.key
        if key is None or not _concerns(statement, self._party):
            return []
        replacement = self._replacements.get(digest)
        if digest in self._unreadable:
            replacement = None
        before = self.standing(key)
        after = fold(before, statement.header, digest, replacement)
        return self._change(key, before, after)

    def _change(
        self, key: RecordKey, before: Standing, after: Standing
    ) -> list[tuple[RecordKey, Standing, Standing]]:
        if after is before:
            return []
        self._standings[key] = after
        return [(key, before, after)]

    def _follow(self, statement: RetractionSet) -> list[tuple[RecordKey, Standing, Standing]]:
        """Take up a retraction set: endings always, its date only where it continues the chain."""
        claims = statement.claims
        if claims.number <= self._set_number:
            return []
        changed = []
        for reference in claims.ended:
            key = RecordKey(reference.source, reference.record_id)
            before = self.standing(key)
            if not before.ended:
                changed += self._change(key, before, replace(before, ending=Ending.RETRACTION))
        for reference in claims.blocked:
            key = RecordKey(reference.source, reference.record_id)
            before = self.standing(key)
            changed += self._change(key, before, replace(before, blocked=True))
        if claims.full or self._continues(claims):
            self._set_number, self._set_hash = claims.number, claims.running_hash
            if claims.last_page:
                self.set_issued_at = instant_from_text(statement.issued_at)
        return changed

    def _continues(self, claims: RetractionSetClaims) -> bool:
        chained = running_hash(
            self._set_hash, claims.number, claims.ended, claims.blocked, claims.revoked_keys
        )
        return claims.previous_number == self._set_number and claims.running_hash == chained


def _concerns(statement: SignedStatement, party: str = "") -> bool:
    """Tell whether a party is meant; some retractions end a record at their addressees alone."""
    header = statement.header
    if isinstance(header, Retraction) and header.ends_at_addressees_alone:
        return party in header.addressees
    return True


def network_standings(
    proven: Mapping[RecordKey, Iterable[SignedStatement]], replacements: Mapping[bytes, bytes]
) -> dict[RecordKey, Standing]:
    """Return how each record stands for one who knows every proven statement."""
    standings = {}
    for key, statements in proven.items():
        standing = NOTHING_KNOWN
        for statement in statements:
            if not _concerns(statement):
                continue
            standing = fold(
                standing, statement.header, statement.digest, replacements.get(statement.digest)
            )
        standings[key] = standing
    return standings


def replacing_versions(stores: Mapping[str, StoreEvidence]) -> dict[bytes, bytes]:
    """Return which version each update retraction puts in force, by the retraction's digest.

    Told by the retraction's body while that lasts; else by the decision that the secretariat noted
    along with it; else by the version that a holder took up from it; else by the newest amendment
    of the version that was taken back.
    """
    noted = _noted_replacements(stores.get(SECRETARIAT))
    carried = {
        (row.carrier, row.statement.key): row.statement.digest
        for store in stores.values()
        for row in store.inbox
        if row.carrier is not None
    }
    amended = _newest_amendments(stores)
    found = {}
    for digest, statement in _update_retractions(stores).items():
        replacing = (
            noted.get(digest)
            or carried.get((statement.header.message_id, statement.key))
            or amended.get(statement.version)
        )
        if replacing is not None:
            found[digest] = replacing
    return found


def _update_retractions(stores: Mapping[str, StoreEvidence]) -> dict[bytes, SignedStatement]:
    return {
        statement.digest: statement
        for store in stores.values()
        for _, statement in store.kept()
        if statement.message_type == "retraction" and statement.header.body_commitment is not None
    }


def _newest_amendments(stores: Mapping[str, StoreEvidence]) -> dict[bytes | None, bytes]:
    """Return for each version that was amended the newest version that replaces it."""
    amendments = {
        (statement.header.message_id, statement.version, statement.digest)
        for store in stores.values()
        for _, statement in store.kept()
        if statement.message_type == "amendment"
    }
    return {replaced: digest for _, replaced, digest in sorted(amendments, key=_first)}


def _first(amendment: tuple[str, bytes | None, bytes]) -> str:
    return amendment[0]


def _noted_replacements(secretariat: StoreEvidence | None) -> dict[bytes, bytes]:
    """Return what the secretariat's own store says of the versions that it put in force."""
    if secretariat is None:
        return {}
    decided = {
        (row.key, row.at): row.digest
        for row in secretariat.history
        if row.event == "case_decided" and row.state == ReviewOutcome.VALIDATED and row.digest
    }
    found = {}
    for row in secretariat.outbox:
        key, body = row.statement.key, secretariat.bodies.get(row.statement.digest)
        carries = body.carries if body is not None else None
        if carries is None and key is not None:
            carries = decided.get((key, row.issued_at))
        if carries is not None:
            found[row.statement.digest] = carries
    return found
