"""How a bureau carries out what it declared. The simulation hands in others that do not."""

from typing import Protocol

from bus.holdings import erase_record, erase_version
from bus.standing import Standing
from bus.storage.records import RecordKey
from bus.turn import Turn
from ncb_nodes.receiving_policy import ReceivingPolicy, is_actionable


class Conduct(Protocol):
    """The deeds in which a dishonest or negligent bureau differs from what it says."""

    def may_act(
        self, turn: Turn, policy: ReceivingPolicy, key: RecordKey, standing: Standing, digest: bytes
    ) -> bool:
        """Tell whether the bureau acts on a version now."""

    def erase_record(self, turn: Turn, key: RecordKey) -> None:
        """Erase all bodies of a record that was taken back."""

    def erase_version(self, turn: Turn, key: RecordKey, digest: bytes) -> None:
        """Erase the body of a version that was replaced or rejected."""


class FaithfulConduct:
    """Does what the bureau declared."""

    def may_act(
        self, turn: Turn, policy: ReceivingPolicy, key: RecordKey, standing: Standing, digest: bytes
    ) -> bool:
        """Act exactly where the declared policy allows it."""
        del turn, key
        return is_actionable(policy, standing, digest)

    def erase_record(self, turn: Turn, key: RecordKey) -> None:
        """Erase."""
        erase_record(turn, key)

    def erase_version(self, turn: Turn, key: RecordKey, digest: bytes) -> None:
        """Erase."""
        erase_version(turn, key, digest)
