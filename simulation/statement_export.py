"""Finding a signed statement in a run's stores and writing it in the standard DSSE form."""

from bus.envelope import Signature, SignedEnvelope, as_json
from bus.errors import BadInput
from bus.messages.catalogue import KINDS
from simulation.evidence.store_copies import opened
from simulation.run_folder import RunFolder

_FIND = "SELECT message_type, payload, key_id, signature FROM {table} WHERE message_id = ?"


def exported_statement(folder: RunFolder, message_id: str) -> dict[str, object]:
    """Return the signed part of a statement as JSON DSSE; raise `BadInput` if no store has it."""
    folder.read_record()
    for party, store in folder.read_stores().items():
        with opened(party, store) as connection:
            for table in ("outbox", "inbox"):
                row = connection.execute(_FIND.format(table=table), (message_id,)).fetchone()
                if row is not None:
                    message_type, payload, key_id, signature = row
                    payload_type = KINDS[message_type].payload_type
                    return as_json(
                        SignedEnvelope(payload_type, payload, [Signature(key_id, signature)], None)
                    )
    message = f"no store of {folder.path} has a statement {message_id}"
    raise BadInput(message)
