"""What a bureau keeps on national grounds, whichever statement tells it first that data must go."""

from typing import Final

import msgspec

from bus.messages import codec
from bus.messages.case_file import CaseFile
from bus.storage.records import RecordKey
from bus.turn import Turn
from ncb_nodes.receiving_policy import ReceivingPolicy

_CASE_FILES: Final = msgspec.msgpack.Decoder(CaseFile)


def keeps_on_national_grounds(turn: Turn, policy: ReceivingPolicy, key: RecordKey) -> bool:
    """Tell whether the declared policy keeps what this bureau still holds of a record.

    The answer rests on the bodies kept and not on the standing: otherwise it would depend on
    which of several statements about one ending came first.
    """
    if not policy.declines_offences:
        return False
    return any(
        codec.decode(_CASE_FILES, body).offence.code in policy.declines_offences
        for body in turn.stores.records.version_bodies(key)
    )
