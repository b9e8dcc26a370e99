"""Did everything that was sent meet with a first outcome at each addressee?

Sent is what an outbox has mail for, unless the body was erased before it could leave, and what was
injected. A first outcome is a row in the addressee's inbox (applied, no effect, waiting, withheld)
or in its quarantine (refused, with a code; expired is one of them). What went over the delivery
limit is refused on the addressee's behalf by the secretariat, which reads the strays. Duplicates
are not counted here: `effects_once` judges what they changed. A message that waits in a queue when
all has settled has met with none.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from bus.envelope import digest_of_delivery
from bus.refusals import DEAD_LETTERED, UNROUTABLE
from bus.storage.outbox import MailState
from bus.storage.records import RecordKey
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import RefusedRow, StoreEvidence
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "nothing_lost"
_STRAY_CODES: Final = frozenset({DEAD_LETTERED.code, UNROUTABLE.code})


class _Sent(Struct, frozen=True, gc=False):
    """One message to one addressee; `left` is False while it is still the sender's to send."""

    digest: bytes
    sender: str
    recipient: str
    name: str
    key: RecordKey | None
    left: bool


def check(evidence: Evidence) -> CheckerResult:
    """Look for the outcome of every message at every addressee whose store can be read.

    Addressees without a node in the run, such as a member that left, are passed over.
    """
    findings = Findings(NAME)
    outcomes = {party: _outcomes(store) for party, store in evidence.stores.items()}
    for stray in _strays(evidence):
        if stray.fault in outcomes:
            outcomes[stray.fault].add(stray.digest)
    waiting = {
        digest_of_delivery(octets): queue
        for queue, messages in evidence.queues.items()
        for octets in messages
    }
    for store in evidence.stores.values():
        for sent in _sent_by(store):
            known = outcomes.get(sent.recipient)
            if known is None:
                continue
            findings.exercised += 1
            if sent.digest not in known:
                place = f"waits in {waiting[sent.digest]}" if sent.digest in waiting else "is gone"
                if not sent.left:
                    place = f"never left {sent.sender}"
                findings.add(sent.recipient, sent.key, f"{sent.name} from {sent.sender} {place}")
    return findings.result()


def _outcomes(store: StoreEvidence) -> set[bytes]:
    taken_up = {row.kept_digest for row in store.inbox}
    taken_up |= {row.kept_digest for row in store.malformed if row.table == "inbox"}
    return taken_up | {row.digest for row in store.quarantine if row.code not in _STRAY_CODES}


def _strays(evidence: Evidence) -> list[RefusedRow]:
    rows = evidence.secretariat.quarantine if evidence.secretariat else ()
    return [row for row in rows if row.code in _STRAY_CODES]


def _sent_by(store: StoreEvidence) -> Iterator[_Sent]:
    for row in store.outbox:
        statement = row.statement
        for mail in row.mail:
            if mail.state != MailState.CANCELLED:
                yield _Sent(
                    statement.digest,
                    store.party,
                    mail.recipient,
                    statement.message_type,
                    statement.key,
                    mail.state == MailState.SENT,
                )
    for event in store.history:
        if event.event == "octets_injected" and event.digest is not None:
            key = event.key if event.record_id else None
            name = "an injected message"
            yield _Sent(event.digest, store.party, event.recipient, name, key, left=True)
