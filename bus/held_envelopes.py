"""Putting the original envelope of a received statement together again, while its body lasts."""

from bus.envelope import Plain, Signature, SignedEnvelope, pack
from bus.messages.catalogue import KINDS
from bus.turn import Turn


def held_envelope(turn: Turn, source: str, message_id: str, digest: bytes) -> bytes | None:
    """Return the octets that `source` signed, with their attachment, or None without a body."""
    turn.stores.inbox.flush()
    row = turn.stores.database.execute(
        "SELECT message_type, payload, key_id, signature FROM inbox"
        " WHERE source = ? AND message_id = ?",
        (source, message_id),
    ).fetchone()
    kept = turn.stores.records.body(digest)
    if row is None or kept is None:
        return None
    message_type, payload, key_id, signature = row
    return pack(
        SignedEnvelope(
            KINDS[message_type].payload_type, payload, [Signature(key_id, signature)], Plain(*kept)
        )
    )
