"""The hostile conducts, by the names under which scenarios cast them."""

from typing import Final

from bus.errors import BadInput
from bus.standing import RecordState, Standing
from bus.storage.records import RecordKey
from bus.turn import Turn
from ncb_nodes.conduct import Conduct, FaithfulConduct
from ncb_nodes.national_store import NationalStore, RetractionSetState
from ncb_nodes.receiving_policy import (
    ReceivingPolicy,
    is_actionable,
    retraction_set_is_fresh,
)
from simulation.profiles.ledger import Deviation, DeviationKind, DeviationLedger


class SignsWithoutDeleting(FaithfulConduct):
    """Signs every receipt and keeps every body."""

    def __init__(self, ledger: DeviationLedger) -> None:
        self._ledger = ledger

    def erase_record(self, turn: Turn, key: RecordKey) -> None:
        """Keep what should go, and confess where there was something to erase."""
        kept = turn.stores.database.execute(
            "SELECT 1 FROM bodies WHERE source = ? AND record_id = ?", (key.source, key.record_id)
        ).fetchone()
        if kept is not None:
            self._confess(turn, key)

    def erase_version(self, turn: Turn, key: RecordKey, digest: bytes) -> None:
        """Keep the version that was replaced."""
        if turn.stores.records.body(digest) is not None:
            self._confess(turn, key)

    def _confess(self, turn: Turn, key: RecordKey) -> None:
        self._ledger.confess(
            Deviation(DeviationKind.SIGNED_WITHOUT_DELETING, turn.party, key.source, key.record_id)
        )


class ActsOnPending(FaithfulConduct):
    """Declares that it waits for the decision, and acts as soon as data come."""

    def __init__(self, ledger: DeviationLedger) -> None:
        self._ledger = ledger

    def may_act(
        self, turn: Turn, policy: ReceivingPolicy, key: RecordKey, standing: Standing, digest: bytes
    ) -> bool:
        """Act on whatever is readable, and confess where the policy forbade it."""
        if is_actionable(policy, standing, digest):
            return True
        if standing.state_of(digest) is not RecordState.PENDING_REVIEW:
            return False
        if _acts_now(turn, policy, key, digest):
            self._ledger.confess(
                Deviation(DeviationKind.ACTED_ON_PENDING, turn.party, key.source, key.record_id)
            )
        return True


def _acts_now(turn: Turn, policy: ReceivingPolicy, key: RecordKey, digest: bytes) -> bool:
    """Tell the deed from the intent: on receipt the bureau only notes where it would act."""
    set_issued_at = RetractionSetState.kept_in(turn.stores.database).issued_at
    return (
        turn.stores.records.body(digest) is not None
        and retraction_set_is_fresh(policy, set_issued_at, turn.now)
        and key in NationalStore(turn.stores.database).records_for_attention()
    )


_CONDUCTS: Final = {
    "signs_without_deleting": SignsWithoutDeleting,
    "acts_on_pending": ActsOnPending,
}
PROFILES: Final = tuple(sorted(_CONDUCTS))


def conduct_of(profile: str | None, member: str, ledger: DeviationLedger) -> Conduct:
    """Return the conduct of a profile; None is a faithful bureau. Raises `BadInput`."""
    if profile is None:
        return FaithfulConduct()
    made = _CONDUCTS.get(profile)
    if made is None:
        message = f"{member}: no profile {profile!r}; there are {', '.join(PROFILES)}"
        raise BadInput(message)
    return made(ledger)
