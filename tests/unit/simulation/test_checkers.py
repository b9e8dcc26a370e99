"""Checkers of what was sent, held and done: each sees what it is there for, and nothing else.

A node is made to misbehave, or a row of its real store is tampered with. Every test names all that
any of the ten checkers found, so one that also cries out elsewhere fails it.
"""

import pytest
from msgspec.structs import replace

from bus.verification import CLOCK_SKEW_MAX
from ncb_nodes.receiving_policy import ReceivingPolicy
from secretariat.review import ReviewSettings
from simulation.evidence.trust import Trustees
from simulation.judgement.checkers import CHECKERS
from simulation.scenario import Event
from tests.unit.simulation.small_run import (
    DAY,
    SMALL,
    Command,
    SmallRun,
    found,
    insertion,
    run_story,
    sql,
)


def test_faithful_network_is_found_clean_by_checkers_that_all_had_work(
    small_run: SmallRun,
) -> None:
    """No checker reports anything, and each had something to judge."""
    evidence = small_run.evidence()
    exercised = {name: checker(evidence).exercised for name, checker in CHECKERS.items()}
    assert evidence.missing == ()
    assert found(evidence) == {}
    assert len(exercised) == 10
    assert all(exercised.values()), exercised


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("UPDATE inbox SET signature = zeroblob(64) WHERE digest = ?", id="signature"),
        pytest.param("UPDATE inbox SET key_id = 'ab' WHERE digest = ?", id="key id"),
        pytest.param("UPDATE kept_bodies SET body = x'80' WHERE digest = ?", id="body"),
        pytest.param("UPDATE kept_bodies SET nonce = zeroblob(32) WHERE digest = ?", id="nonce"),
    ],
)
def test_record_whose_envelope_does_not_verify_is_seen(small_run: SmallRun, command: str) -> None:
    """One node holds an alert whose signature or body proves nothing."""
    spoilt = small_run.tampered("XC", sql(command, small_run.digest("icons")))
    assert found(small_run.evidence(spoilt)) == {"only_verified_records": {("XC", "icons")}}


def test_statement_whose_octets_cannot_be_decoded_is_seen(small_run: SmallRun) -> None:
    """The row is there, counts as taken up, and is worth nothing as evidence."""
    spoilt = small_run.tampered(
        "XD",
        sql(
            "UPDATE inbox SET payload = x'c1' WHERE message_type = 'review_opened'"
            " AND record_id = ?",
            small_run.record_id("treasurer"),
        ),
    )
    assert found(small_run.evidence(spoilt)) == {"only_verified_records": {("XD", "treasurer")}}


def test_record_of_a_source_without_a_certificate_is_seen(small_run: SmallRun) -> None:
    """The run's certificates decide, not what a node believes of a key."""
    known = {party: der for party, der in small_run.facts.certificates.items() if party != "XD"}
    evidence = small_run.evidence()
    judged = replace(evidence, facts=replace(small_run.facts, certificates=known))
    assert ("XA", "late to one") in found(judged)["only_verified_records"]
    assert ("XC", "icons") not in found(judged)["only_verified_records"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"issued_at": "1999-01-01T00:00:00.000Z"}, "its key did not count when it was issued"),
        ({"source": "XB"}, "its key belongs to another party"),
        ({}, None),
    ],
)
def test_statement_is_judged_by_who_says_it_was_made_when(
    small_run: SmallRun, change: dict[str, str], fault: str | None
) -> None:
    """A key counts for its own party, between the instants of its certificate."""
    statement = small_run.evidence().statements[small_run.digest("icons")]
    trustees = Trustees(small_run.facts.root_der, small_run.facts.certificates)
    altered = replace(statement, header=replace(statement.header, **change))
    assert trustees.fault_of(altered) == fault


def test_bureau_that_decides_on_a_record_is_not_believed(small_run: SmallRun) -> None:
    """A decision signed with a bureau's key is nobody's decision."""
    evidence = small_run.evidence()
    decision = next(
        row.statement
        for row in evidence.stores["IPSG"].outbox
        if row.statement.message_type == "review_decision"
    )
    alert = evidence.statements[small_run.digest("icons")]
    forged = replace(decision, key_id=alert.key_id, header=replace(decision.header, source="XA"))
    assert evidence.trustees.fault_of(forged) == "its signer may not say this"


def _without_message(small_run: SmallRun) -> tuple[Command, Command]:
    """Return what makes XA forget the plain message from XB."""
    ((digest,),) = small_run.rows("XA", "SELECT digest FROM inbox WHERE message_type = 'message'")
    return (
        sql("DELETE FROM inbox WHERE digest = ?", digest),
        sql("DELETE FROM kept_bodies WHERE digest = ?", digest),
    )


def test_message_that_met_with_no_outcome_is_seen(small_run: SmallRun) -> None:
    """The sender has the broker's word for it, and the addressee has nothing."""
    robbed = small_run.tampered("XA", *_without_message(small_run))
    assert found(small_run.evidence(robbed)) == {"nothing_lost": {("XA", "no record")}}


def test_injected_octets_that_vanished_are_seen(small_run: SmallRun) -> None:
    """An injected forgery must be in its addressee's quarantine."""
    robbed = small_run.tampered("XA", sql("DELETE FROM quarantine"))
    assert found(small_run.evidence(robbed)) == {"nothing_lost": {("XA", "no record")}}


def test_mail_that_never_left_its_outbox_is_seen(small_run: SmallRun) -> None:
    """Mail that is still due when all has settled has not met with an outcome either."""
    stuck = small_run.tampered(
        "XB", sql("UPDATE outbox_mail SET state = 'due' WHERE recipient = 'XA'")
    )
    robbed = small_run.tampered("XA", *_without_message(small_run))
    evidence = small_run.evidence(stuck, robbed)
    (violation,) = CHECKERS["nothing_lost"](evidence).found
    assert violation.detail == "message from XB never left XB"


def test_mail_in_the_queue_of_a_member_that_never_came_back_is_seen() -> None:
    """When all has settled, what nobody took is lost to its addressee."""
    away = Event(kind="away", member="XD", at="1h", until="90d")
    run = run_story(replace(SMALL, alerts=SMALL.alerts[:1], events=(away,)))
    evidence = run.evidence()
    assert found(evidence) == {"nothing_lost": {("XD", "icons"), ("XD", "no record")}}
    details = {violation.detail for violation in CHECKERS["nothing_lost"](evidence).found}
    assert "diffusion from XA waits in i247.data.XD" in details


def test_dead_letter_that_the_secretariat_reduced_counts_as_refused(small_run: SmallRun) -> None:
    """What went over the delivery limit has an outcome, under the name of its addressee."""
    forget = _without_message(small_run)
    robbed = small_run.tampered("XA", *forget)
    quarantined = small_run.tampered(
        "IPSG",
        sql(
            "INSERT INTO quarantine (received_at, code, digest, octets, fault)"
            " VALUES (0, 'dead_lettered', ?, 1, 'XA')",
            *forget[0][1],
        ),
    )
    assert found(small_run.evidence(robbed, quarantined)) == {}


def test_record_at_a_node_to_which_it_was_not_addressed_is_seen(small_run: SmallRun) -> None:
    """A bureau handed its copy on, envelope and all."""
    digest, record_id = small_run.digest("listed"), small_run.record_id("listed")
    handed_on = [
        insertion(table, row)
        for table in ("inbox", "kept_bodies", "versions")
        for row in small_run.rows("XB", f"SELECT * FROM {table} WHERE digest = ?", digest)  # noqa: S608
    ]
    (record,) = small_run.rows("XB", "SELECT * FROM records WHERE record_id = ?", record_id)
    (event,) = small_run.rows(
        "XB", "SELECT * FROM history WHERE event = 'diffusion_applied' AND digest = ?", digest
    )
    handed_on += [insertion("records", record), insertion("history", (None, *event[1:]))]
    leaked = small_run.tampered("XD", *handed_on)
    assert found(small_run.evidence(leaked)) == {"nothing_at_non_addressees": {("XD", "listed")}}


def test_record_without_a_case_is_seen_at_every_holder(small_run: SmallRun) -> None:
    """What the secretariat has no case for is held by its source and its addressees alike."""
    forgotten = small_run.tampered(
        "IPSG", sql("DELETE FROM cases WHERE digest = ?", small_run.digest("listed"))
    )
    assert found(small_run.evidence(forgotten)) == {
        "every_diffusion_decided": {("XA", "listed"), ("XB", "listed"), ("IPSG", "listed")}
    }


def test_case_without_a_decision_is_seen_unless_it_is_a_stated_backlog() -> None:
    """A scenario may state how many cases are open at its end, and not one more."""
    slow = ReviewSettings(reviewers=1, review_shortest=30 * DAY, review_longest=31 * DAY)
    run = run_story(
        replace(SMALL, alerts=SMALL.alerts[:2], events=(), review=slow, settle_days_max=1)
    )
    evidence = run.evidence()
    assert found(evidence) == {"every_diffusion_decided": {("IPSG", "icons"), ("IPSG", "listed")}}
    stated = replace(evidence, facts=replace(run.facts, open_at_end_max=2))
    assert found(stated) == {}


def test_bureau_that_acts_on_pending_data_against_its_word_is_seen() -> None:
    """The very deeds that the culprit confessed are found, and nobody else's."""
    run = run_story(replace(SMALL, profiles={"XD": "acts_on_pending"}))
    evidence = run.evidence()
    confessed = {
        (each.node, evidence.name_of(each.source, each.record_id)) for each in run.deviations
    }
    assert found(evidence) == {"acts_as_declared": confessed}
    assert ("XD", "treasurer") in confessed


def test_bureau_that_declares_to_act_at_once_is_judged_and_passes(small_run: SmallRun) -> None:
    """XB acts on pending data by its policy; under another policy the same acts are violations."""
    strict = {**small_run.facts.policies, "XB": ReceivingPolicy()}
    judged = replace(small_run.evidence(), facts=replace(small_run.facts, policies=strict))
    assert found(judged) == {
        "acts_as_declared": {("XB", "icons"), ("XB", "listed"), ("XB", "found at home")}
    }


def test_act_with_a_stale_retraction_set_is_seen(small_run: SmallRun) -> None:
    """The bureau knew nothing newer than two periods when it acted."""
    late = small_run.tampered(
        "XC",
        sql(
            "UPDATE history SET at = at + ? WHERE event IN ('record_acted_on', 'hit_issued')",
            2 * DAY + CLOCK_SKEW_MAX + 1,
        ),
    )
    assert found(small_run.evidence(late)) == {"acts_as_declared": {("XC", "icons")}}


def test_act_that_the_history_does_not_tell_of_is_judged_too(small_run: SmallRun) -> None:
    """The list of acts counts beside the history, at the time that it gives."""
    ((*version,),) = small_run.rows(
        "XC",
        "SELECT source, record_id, digest FROM versions WHERE digest = ?",
        small_run.digest("treasurer"),
    )
    secret = small_run.tampered("XC", insertion("actions", (*version, small_run.facts.ends)))
    assert found(small_run.evidence(secret)) == {"acts_as_declared": {("XC", "treasurer")}}
