"""What a node knew is folded anew from its statements, and agrees with what an honest node says."""

from collections.abc import Callable

from msgspec.structs import replace

from bus.standing import NOTHING_KNOWN, Standing
from bus.storage.records import RecordKey
from simulation.evidence.folds import Replay, network_standings
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import HistoryRow
from tests.unit.simulation.small_run import DAY, SmallRun


def _final(evidence: Evidence, party: str) -> Replay:
    replay = evidence.replay(party)
    for _ in replay.steps():
        pass
    return replay


def _told_otherwise(
    evidence: Evidence, party: str, tell: Callable[[HistoryRow], HistoryRow | None]
) -> Replay:
    """Replay a party's history with some rows told otherwise, or not at all."""
    store = evidence.stores[party]
    rows = [told for row in store.history if (told := tell(row)) is not None]
    stores = {**evidence.stores, party: replace(store, history=rows)}
    return _final(replace(evidence, stores=stores), party)


def _key(run: SmallRun, label: str) -> RecordKey:
    source = next(each.source for each in run.facts.versions if each.label == label)
    return RecordKey(source, run.record_id(label))


def test_standings_folded_anew_are_those_that_honest_nodes_keep(small_run: SmallRun) -> None:
    """Every version at every party: the columns say what the statements amount to."""
    evidence = small_run.evidence()
    compared = 0
    for party, store in evidence.stores.items():
        replay = _final(evidence, party)
        for version in store.versions:
            standing = replay.standing(version.key)
            assert version.state == standing.state_of(version.digest), (party, version)
            compared += 1
    assert compared > 20


def test_standing_of_the_whole_network_does_not_depend_on_the_order_of_statements(
    small_run: SmallRun,
) -> None:
    """The fold is over a set."""
    evidence = small_run.evidence()
    backwards = {key: list(reversed(each)) for key, each in evidence.proven.items()}
    assert network_standings(backwards, evidence.replacements) == evidence.standings
    assert evidence.is_deleted(_key(small_run, "treasurer"), small_run.digest("treasurer"))
    assert not evidence.is_deleted(_key(small_run, "icons"), small_run.digest("icons"))


def test_update_rejects_the_old_version_and_keeps_the_record(small_run: SmallRun) -> None:
    """The version that a retraction carries comes into force; the record lives on."""
    evidence, key = small_run.evidence(), _key(small_run, "birth date")
    old, new = small_run.digest("birth date"), small_run.digest("birth date", 2)
    assert set(evidence.replacements.values()) == {new}
    standing = _final(evidence, "XD").standing(key)
    assert (standing.ended, standing.in_force()) == (False, new)
    assert evidence.is_rejected(key, old)


def test_update_that_a_node_could_not_read_ends_the_record_there(small_run: SmallRun) -> None:
    """Without a readable replacement an update deletes."""
    evidence, key = small_run.evidence(), _key(small_run, "birth date")
    refusals = [
        replace(row, event="inner_envelope_refused")
        for row in evidence.stores["XD"].history
        if row.digest in evidence.replacements
    ]
    store = evidence.stores["XD"]
    unread = replace(store, history=[*refusals, *store.history])
    replay = _final(replace(evidence, stores={**evidence.stores, "XD": unread}), "XD")
    assert replay.standing(key).ended


def test_update_that_carries_nothing_ends_the_record_at_its_addressees_alone(
    small_run: SmallRun,
) -> None:
    """Who was not addressed by the new version loses the record; for the network it lives on."""
    evidence, key = small_run.evidence(), _key(small_run, "birth date")
    [update] = [
        row.statement
        for row in evidence.stores["XD"].inbox
        if row.statement.digest in evidence.replacements
    ]
    header = replace(update.header, body_commitment=None, addressees=["XD"])
    bare = replace(update, header=header, digest=b"\x07" * 32)
    known = network_standings({key: [*evidence.proven[key], bare]}, evidence.replacements)
    assert not known[key].ended
    ended = {}
    for party in ("XD", "IPSG"):
        store = evidence.stores[party]
        at = store.history[-1]
        told = replace(at, event="retraction_applied", digest=bare.digest)
        taken = replace(store.inbox[-1], statement=bare, kept_digest=bare.digest)
        added = replace(store, inbox=[*store.inbox, taken], history=[*store.history, told])
        stores = {**evidence.stores, party: added}
        ended[party] = _final(replace(evidence, stores=stores), party).standing(key).ended
    assert ended == {"XD": True, "IPSG": False}


def test_retraction_set_alone_ends_a_record_and_its_date_counts_while_the_chain_holds(
    small_run: SmallRun,
) -> None:
    """A member that missed the retraction learns of the end from the next set."""
    evidence, key = small_run.evidence(), _key(small_run, "treasurer")

    def without_retraction(row: HistoryRow) -> HistoryRow | None:
        return None if row.event == "retraction_applied" else row

    replay = _told_otherwise(evidence, "XD", without_retraction)
    assert replay.standing(key).ended
    assert replay.set_issued_at == small_run.facts.ends


def test_set_after_a_gap_ends_records_and_does_not_make_the_rest_trustworthy(
    small_run: SmallRun,
) -> None:
    """Endings are taken at once; the date stays that of the last set that chained."""
    evidence, key = small_run.evidence(), _key(small_run, "treasurer")
    sets = [row for row in evidence.stores["XD"].history if row.event == "retraction_set_applied"]

    def without_second_set(row: HistoryRow) -> HistoryRow | None:
        return None if row.digest == sets[1].digest else row

    replay = _told_otherwise(evidence, "XD", without_second_set)
    assert replay.set_issued_at == sets[0].at == small_run.facts.begins
    assert replay.standing(key).ended
    assert sets[1].at == small_run.facts.begins + DAY


def test_record_that_nobody_spoke_of_has_no_standing(small_run: SmallRun) -> None:
    """Nothing is known of it, and nothing about it was deleted."""
    evidence = small_run.evidence()
    stranger = RecordKey("XA", "00000000-0000-4000-8000-000000000000")
    standing: Standing = _final(evidence, "XA").standing(stranger)
    assert standing is NOTHING_KNOWN
    assert not evidence.is_deleted(stranger, bytes(32))
