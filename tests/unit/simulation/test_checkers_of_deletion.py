"""Checkers of what was taken back: each sees what it is there for, and nothing else.

As in `test_checkers`, every test names all that any of the ten checkers found.
"""

import pytest
from msgspec.structs import replace

from bus.messages.retraction import Retraction, RetractionAction, RetractionReceipt
from ncb_nodes.receiving_policy import ReceivingPolicy
from simulation.judgement.checkers import CHECKERS, effects_once
from simulation.scenario import Event
from tests.unit.simulation.small_run import (
    SMALL,
    Command,
    SmallRun,
    changed,
    found,
    insertion,
    run_story,
    sql,
)


def test_holder_that_declines_by_national_policy_is_seen(small_run: SmallRun) -> None:
    """It says so in a signed receipt; what it keeps openly is no residue."""
    offence = small_run.facts.offences["treasurer"]
    policies = {**SMALL.policies, "XD": ReceivingPolicy(declines_offences=(offence,))}
    evidence = run_story(replace(SMALL, policies=policies)).evidence()
    assert evidence.stores["XD"].keys_of_bodies & {key for _, key in evidence.declined}
    assert found(evidence) == {"retraction_complete": {("XD", "treasurer")}}


def test_holder_that_was_never_asked_is_seen(small_run: SmallRun) -> None:
    """The delivery ledger knows of a holder to whom no retraction was addressed."""
    disclosed = small_run.tampered(
        "IPSG", insertion("holders", ("XB", small_run.record_id("treasurer"), "XA", "hit", 0))
    )
    assert found(small_run.evidence(disclosed)) == {"retraction_complete": {("XA", "treasurer")}}


def test_holder_that_is_told_by_a_later_retraction_of_its_own_was_asked(
    small_run: SmallRun,
) -> None:
    """Of two deletions of one record each holder needs one, with a receipt for it."""
    evidence = small_run.evidence()
    store = evidence.stores["IPSG"]
    row = next(
        row
        for row in store.outbox
        if row.statement.message_type == "retraction"
        and row.statement.version == small_run.digest("treasurer")
    )
    first, later = (
        replace(row, statement=replace(row.statement, header=replace(row.statement.header, **each)))
        for each in ({"addressees": ["XB", "XC"]}, {"addressees": ["XD"], "message_id": "later"})
    )
    others = [each for each in store.outbox if each is not row]
    split = replace(store, outbox=[*others, first, later])
    result = CHECKERS["retraction_complete"](
        replace(evidence, stores={**evidence.stores, "IPSG": split})
    )
    assert {(violation.node, violation.detail) for violation in result.found} == {
        ("XD", "it has signed no receipt")
    }


def test_update_without_a_receipt_is_void_after_a_deletion(small_run: SmallRun) -> None:
    """The deletion needs a receipt of its own; an older one supersedes nothing."""
    evidence = small_run.evidence()
    store = evidence.stores["IPSG"]
    row = next(
        row
        for row in store.outbox
        if isinstance(row.statement.header, Retraction)
        and row.statement.version == small_run.digest("treasurer")
    )
    deletion = row.statement.header
    assert isinstance(deletion, Retraction)
    missed = {}
    for number in (deletion.claims.number - 1, deletion.claims.number + 1):
        claims = replace(deletion.claims, number=number, action=RetractionAction.UPDATE)
        header = replace(deletion, claims=claims, message_id="update", addressees=["XD"])
        update = replace(row, statement=replace(row.statement, header=header))
        sent = replace(store, outbox=[*store.outbox, update])
        result = CHECKERS["retraction_complete"](
            replace(evidence, stores={**evidence.stores, "IPSG": sent})
        )
        missed[number - deletion.claims.number] = [each.detail for each in result.found]
    assert missed == {-1: [], 1: ["it has signed no receipt"]}


def test_holder_that_the_ledger_forgot_is_seen_by_the_signed_addressees(
    small_run: SmallRun,
) -> None:
    """Neither ledger nor campaign is trusted: the addressees that the source signed are asked."""
    record_id = small_run.record_id("treasurer")
    forgotten = small_run.tampered(
        "IPSG",
        sql("DELETE FROM holders WHERE record_id = ?", record_id),
        sql("DELETE FROM campaigns WHERE record_id = ?", record_id),
        sql("DELETE FROM obligations"),
        sql("DELETE FROM outbox WHERE message_type = 'retraction' AND record_id = ?", record_id),
    )
    assert found(small_run.evidence(forgotten))["retraction_complete"] == {
        ("XB", "treasurer"),
        ("XC", "treasurer"),
        ("XD", "treasurer"),
    }


def test_holder_that_signed_no_receipt_is_seen_whatever_the_ledger_says(
    small_run: SmallRun,
) -> None:
    """Only a signed receipt discharges; the one that is gone is missed as a message, too."""
    robbed = small_run.tampered(
        "IPSG",
        sql(
            "DELETE FROM inbox WHERE message_type = 'retraction_receipt' AND source = 'XD'"
            " AND record_id = ?",
            small_run.record_id("treasurer"),
        ),
    )
    assert found(small_run.evidence(robbed)) == {
        "retraction_complete": {("XD", "treasurer")},
        "nothing_lost": {("IPSG", "treasurer")},
    }


def test_member_that_never_comes_back_is_found_overdue() -> None:
    """It was asked, reminded and named; its silence is the violation."""
    away = Event(kind="away", member="XD", at="8h", until="90d")
    run = run_story(replace(SMALL, alerts=SMALL.alerts[2:3], events=(away,)))
    assert found(run.evidence())["retraction_complete"] == {("XD", "treasurer")}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("UPDATE records SET ending = NULL WHERE record_id = ?", id="record"),
        pytest.param("UPDATE versions SET state = 'validated' WHERE record_id = ?", id="version"),
    ],
)
def test_tombstone_whose_record_is_called_live_again_is_seen(
    small_run: SmallRun, command: str
) -> None:
    """Readers of the store go by its columns, so these must keep saying that it ended."""
    revived = small_run.tampered("XC", sql(command, small_run.record_id("treasurer")))
    assert found(small_run.evidence(revived)) == {"no_resurrection": {("XC", "treasurer")}}


def test_alert_stored_over_the_tombstone_that_came_before_it_is_seen(
    small_run: SmallRun,
) -> None:
    """A retraction that overtakes its diffusion wins; a node that stored it all the same erred."""
    careless = small_run.tampered(
        "XC",
        sql(
            "UPDATE history SET event = 'diffusion_applied' WHERE event = 'diffusion_withheld'"
            " AND digest = ?",
            small_run.digest("late to one"),
        ),
    )
    assert found(small_run.evidence(careless)) == {"no_resurrection": {("XC", "late to one")}}


def _restored(small_run: SmallRun, label: str, source: str) -> Command:
    """Return what puts an erased body back under its record."""
    row = (small_run.digest(label), source, small_run.record_id(label), *small_run.body(label))
    return insertion("kept_bodies", row)


def test_body_that_came_back_after_its_erasure_is_seen(small_run: SmallRun) -> None:
    """It is a resurrection, a residue, and makes a lie of the receipt."""
    restored = small_run.tampered("XC", _restored(small_run, "treasurer", "XB"))
    places = {("XC", "treasurer")}
    assert found(small_run.evidence(restored)) == {
        "no_resurrection": places,
        "receipts_match_stores": places,
        "no_residue": places,
    }


def test_replaced_version_that_is_still_there_contradicts_its_receipt(
    small_run: SmallRun,
) -> None:
    """After an update the old version must be gone, while the new one stays."""
    restored = small_run.tampered("XD", _restored(small_run, "birth date", "XC"))
    result = CHECKERS["receipts_match_stores"](small_run.evidence(restored))
    assert {violation.detail for violation in result.found} == {
        "it signed updated, and a body is in its store"
    }
    assert small_run.digest("birth date", 2) in small_run.evidence().stores["XD"].bodies


def test_bureau_that_signs_without_deleting_is_seen() -> None:
    """Its receipts say deleted and updated, and its store says otherwise."""
    run = run_story(replace(SMALL, profiles={"XD": "signs_without_deleting"}))
    evidence = run.evidence()
    places = {("XD", "treasurer"), ("XD", "birth date"), ("XD", "late to one")}
    assert found(evidence) == {"receipts_match_stores": places, "no_residue": places}
    confessed = {
        (each.node, evidence.name_of(each.source, each.record_id)) for each in run.deviations
    }
    assert confessed == places


def test_canary_of_a_deleted_body_in_a_log_is_seen(small_run: SmallRun) -> None:
    """What a log says of a deleted version is a copy as good as any; of a live one it may."""
    canaries = small_run.facts.canaries
    logs = {
        "XD": b"stored " + canaries.of_version("treasurer", 1).encode(),
        "XA": b"stored " + canaries.of_version("icons", 1).encode(),
    }
    assert found(small_run.evidence(logs=logs)) == {"no_residue": {("XD", "treasurer")}}


def test_canary_of_a_person_of_whom_no_live_record_is_left_is_seen(small_run: SmallRun) -> None:
    """A derived copy holds the person and no version; a person in a live record is no residue."""
    canaries = small_run.facts.canaries
    logs = {
        "XD": canaries.of_person("treasurer").encode(),
        "XC": canaries.of_person("birth date").encode(),
    }
    assert found(small_run.evidence(logs=logs)) == {"no_residue": {("XD", "treasurer")}}


def test_canary_left_in_a_free_page_is_seen(small_run: SmallRun) -> None:
    """A store that deletes without overwriting keeps the octets where no query finds them."""
    _, body = small_run.body("treasurer")
    party, shadowed = small_run.tampered(
        "XC", sql("CREATE TABLE shadow (body BLOB)"), insertion("shadow", (body,))
    )
    dropped = changed(shadowed, sql("DROP TABLE shadow"))
    assert body in dropped.image
    assert found(small_run.evidence((party, dropped))) == {"no_residue": {("XC", "treasurer")}}


def test_dead_body_that_waits_in_a_queue_is_seen(small_run: SmallRun) -> None:
    """A queue is a place like any other; one of strays belongs to no party and is named itself."""
    _, body = small_run.body("treasurer")
    queues = {"i247.data.XD": [body], "i247.quarantine": [b"dead " + body]}
    assert found(small_run.evidence(queues=queues)) == {
        "no_residue": {("XD", "treasurer"), ("i247.quarantine", "treasurer")}
    }


@pytest.mark.parametrize("event", ["diffusion_applied", "record_acted_on"])
def test_effect_that_happened_twice_is_seen(small_run: SmallRun, event: str) -> None:
    """The history tells twice that one message took effect, or of one act."""
    (row,) = small_run.rows(
        "XC",
        "SELECT * FROM history WHERE event = ? AND digest = ?",
        event,
        small_run.digest("icons"),
    )
    twice = small_run.tampered("XC", insertion("history", (None, *row[1:])))
    assert found(small_run.evidence(twice)) == {"effects_once": {("XC", "icons")}}


def test_two_receipts_for_one_retraction_are_seen(small_run: SmallRun) -> None:
    """A repeat of a retraction sends the stored receipt again; a second one is an effect more."""
    evidence = small_run.evidence()
    store = evidence.stores["XC"]
    receipt = next(
        row for row in store.outbox if isinstance(row.statement.header, RetractionReceipt)
    )
    other = replace(receipt, statement=replace(receipt.statement, digest=bytes(32)))
    doubled = replace(store, outbox=[*store.outbox, other])
    result = effects_once.check(replace(evidence, stores={**evidence.stores, "XC": doubled}))
    assert {violation.detail for violation in result.found} == {
        "it signed two receipts for one order"
    }
