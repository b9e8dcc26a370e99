"""A participant: batches in one transaction, refusals that leave nothing, poison, restarts."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from bus import refusals
from bus.envelope import Plain, body_commitment, pack
from bus.errors import EnvironmentFailed
from bus.instants import DAY, HOUR, Instant
from bus.messages.correspondence import Message, NoClaims, TextBody
from bus.messages.header import Header
from bus.participant import Handler, Participant
from bus.ports import Delivery
from bus.refusals import EnvelopeRefused
from bus.statements import Draft
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey
from bus.topology import QUARANTINE_QUEUE, UNROUTABLE_QUEUE
from bus.turn import Effect, Turn
from bus.verification import VerifiedMessage
from tests.factories import (
    NOW,
    amendment,
    bureau,
    delivered,
    delivery,
    diffusion,
    identity,
    message,
    opening,
    packed,
    participant,
    secretariat,
    signed_anew,
    version_of,
)
from tests.post_office import bodies, events, outcomes, refused, rows
from tests.statement_strategies import bodies as any_body
from tests.statement_strategies import headers, kinds


class Clerk:
    """Duties that do what a test says with each message, told by its text."""

    schemas: Sequence[str] = ("CREATE TABLE seen (text TEXT);",)

    def __init__(self, **deeds: Callable[[Turn], None]) -> None:
        self.deeds = deeds
        self.handled: list[str] = []
        self.repeats = 0
        self.ticked: list[Instant] = []
        self.handlers: Mapping[type[Header], Handler] = {Message: self.handle}
        self.repeat_handlers: Mapping[type[Header], Callable[[Turn, VerifiedMessage], None]] = {
            Message: self.repeat
        }

    def handle(self, turn: Turn, one: VerifiedMessage) -> Effect:
        """Write a row, and then do the deed."""
        assert isinstance(one.body, TextBody)
        self.handled.append(one.body.text)
        turn.stores.database.execute("INSERT INTO seen VALUES (?)", (one.body.text,))
        if deed := self.deeds.get(one.body.text):
            deed(turn)
        return Effect(Outcome.APPLIED)

    def repeat(self, turn: Turn, one: VerifiedMessage) -> None:
        """Count."""
        del turn, one
        self.repeats += 1

    def tick(self, turn: Turn) -> None:
        """Remember when."""
        self.ticked.append(turn.now)

    def next_due(self, turn: Turn) -> Instant | None:
        """Return an instant that depends on the one asked at."""
        return turn.now + HOUR

    def open_work(self, turn: Turn) -> int:
        """Return how many messages were written."""
        return len(turn.stores.database.execute("SELECT * FROM seen").fetchall())


def clerk(path: Path | None = None, **deeds: Callable[[Turn], None]) -> tuple[Participant, Clerk]:
    """Return XB with a clerk's duties."""
    duties = Clerk(**deeds)
    return participant("XB", duties, path), duties


def letters(*texts: str) -> list[Delivery]:
    """Return one delivery for each text."""
    return [delivery(message(text=text), "XB") for text in texts]


def seen(one: Participant) -> list[str]:
    """Return the texts that were committed."""
    return [text for (text,) in rows(one, "SELECT text FROM seen")]


def refuse_after_much_work(turn: Turn) -> None:
    """Leave traces in every table, and then refuse."""
    record = version_of(diffusion())
    key = RecordKey(record.source, record.record_id)
    turn.stores.records.keep_body(b"d" * 32, key, bytes(32), b"CANARY-refused")
    turn.issue(Draft(Message, ("XC",), NoClaims(), subject="answer", body=TextBody("CANARY-x")))
    turn.note("something_done")
    turn.registry = replace(turn.registry, members=frozenset())
    raise EnvelopeRefused(refusals.TOO_MUCH_WAITING)


def fail(turn: Turn) -> None:
    """Fail as a defect in a handler does."""
    del turn
    message = "poison"
    raise RuntimeError(message)


class TestBatch:
    """A batch commits as a whole, and is settled only then."""

    def test_batch_is_one_transaction(self) -> None:
        """One commit, however many messages."""
        one, _ = clerk()
        statements: list[str] = []
        one.database.connection.set_trace_callback(statements.append)
        taken = one.receive(letters("a", "b", "c"), NOW)
        assert [each for each in statements if each in ("BEGIN IMMEDIATE", "COMMIT")] == [
            "BEGIN IMMEDIATE",
            "COMMIT",
        ]
        assert (len(taken.accepted), list(taken.requeued)) == (3, [])
        assert seen(one) == ["a", "b", "c"]

    def test_repeat_is_told_apart_in_the_same_batch_and_in_a_later_one(self) -> None:
        """It is handled once, its repeat handler runs, and history counts it."""
        one, duties = clerk()
        one.receive(letters("a", "a"), NOW)
        one.receive(letters("a"), NOW)
        assert (duties.handled, duties.repeats) == (["a"], 2)
        assert events(one)[-3:] == ["message_applied", "message_repeated", "message_repeated"]

    def test_statement_for_which_there_is_no_duty_is_refused(self) -> None:
        """It goes into quarantine and blocks nothing."""
        one, _ = clerk()
        taken = one.receive([delivery(diffusion(), "XB"), *letters("a")], NOW)
        assert len(taken.accepted) == 2
        assert (refused(one), seen(one)) == (["statement_not_supported"], ["a"])

    @pytest.mark.parametrize(
        ("queue", "code"),
        [(QUARANTINE_QUEUE, "dead_lettered"), (UNROUTABLE_QUEUE, "unroutable")],
    )
    def test_stray_is_reduced_unread(self, queue: str, code: str) -> None:
        """What was meant for others is accounted for and never handled, valid or not."""
        one, duties = clerk()
        one.receive([replace(each, queue=queue) for each in letters("a")], NOW)
        assert (refused(one), duties.handled) == ([code], [])


class TestRefusal:
    """A refused message leaves its quarantine row and nothing else."""

    def test_refusing_handler_undoes_all_that_it_did(self) -> None:
        """Its neighbours in the batch are taken up all the same."""
        one, _ = clerk(bad=refuse_after_much_work)
        known = one.registry
        taken = one.receive(letters("a", "bad", "b"), NOW)
        assert (len(taken.accepted), list(taken.requeued)) == (3, [])
        assert (seen(one), refused(one)) == (["a", "b"], ["too_much_waiting"])
        assert rows(one, "SELECT * FROM outbox") == []
        assert bodies(one) == []
        assert events(one)[-3:] == ["message_applied", "envelope_refused", "message_applied"]
        assert "something_done" not in events(one)
        assert one.registry is known

    def test_refused_message_is_not_taken_for_known_when_it_comes_again(self) -> None:
        """The inbox knows only what was taken up, so a lasting fault is refused each time."""
        one, duties = clerk(bad=refuse_after_much_work)
        one.receive(letters("bad"), NOW)
        one.receive(letters("bad"), NOW)
        assert (refused(one), duties.repeats) == (["too_much_waiting"] * 2, 0)

    def test_nothing_of_a_refused_body_is_kept(self) -> None:
        """Neither by the refusing handler nor by the quarantine."""
        one, _ = clerk(bad=refuse_after_much_work)
        forged = packed(diffusion())[:-3]
        assert b"CANARY" in forged
        one.receive([delivered(forged, "XA", "diffusion", "XB"), *letters("bad")], NOW)
        assert len(refused(one)) == 2
        assert b"CANARY" not in one.database.image()

    def test_quarantine_row_names_the_message_and_its_sender(self) -> None:
        """Code, size, digest, validated user and the header fields that are in form."""
        one, _ = clerk()
        said = diffusion()
        one.receive([delivered(packed(said), "XC", "diffusion", "XB")], NOW)
        [row] = rows(one, "SELECT code, octets, digest, origin, message_id, source FROM quarantine")
        assert row == (
            "user_mismatch", len(packed(said)), said.digest, "XC", said.message_id, "XA",
        )  # fmt: skip

    def test_same_message_from_another_user_does_not_spoil_the_real_one(self) -> None:
        """A forger cannot burn a message id before the source uses it."""
        one, _ = clerk()
        said = message()
        forged = delivered(packed(said), "XC", "message", "XB")
        one.receive([forged, delivery(said, "XB")], NOW)
        assert (refused(one), seen(one)) == (["user_mismatch"], ["hello"])


class TestPoison:
    """A message on which a handler fails must not take others with it."""

    def test_only_the_poison_goes_back_to_its_queue(self) -> None:
        """The batch is tried twice, then each message alone."""
        one, duties = clerk(bad=fail)
        batch = letters("a", "bad", "b")
        with capture_logs() as logs:
            taken = one.receive(batch, NOW)
        assert (list(taken.accepted), list(taken.requeued)) == ([batch[0], batch[2]], [batch[1]])
        assert seen(one) == ["a", "b"]
        assert duties.handled.count("bad") == 3
        assert [log["event"] for log in logs] == ["batch_failed"] * 3

    def test_failure_that_passes_is_made_up_for(self) -> None:
        """At the second attempt everything is taken up, once."""
        failures = [RuntimeError()]

        def fail_once(turn: Turn) -> None:
            del turn
            if failures:
                raise failures.pop()

        one, _ = clerk(bad=fail_once)
        with capture_logs():
            taken = one.receive(letters("a", "bad", "b"), NOW)
        assert (len(taken.accepted), list(taken.requeued)) == (3, [])
        assert seen(one) == ["a", "bad", "b"]
        assert outcomes(one, "message") == ["applied"] * 3

    def test_failure_is_logged_without_what_the_message_said(self) -> None:
        """The log names party and kind of error, and no content."""
        one, _ = clerk(bad=fail)
        with capture_logs() as logs:
            one.receive(letters("bad"), NOW)
        assert {(log["party"], log["error"]) for log in logs} == {("XB", "RuntimeError")}


class TestTime:
    """What is due, and orders from outside."""

    def test_tick_hands_the_instant_on(self) -> None:
        """Duties read no clock."""
        one, duties = clerk()
        one.tick(NOW + DAY)
        assert duties.ticked == [NOW + DAY]
        assert (one.next_due(NOW), one.open_work(NOW)) == (NOW + HOUR, 0)

    def test_failed_order_changes_nothing(self) -> None:
        """An order is one transaction, and its error reaches whoever gave it."""
        one, _ = clerk()

        def deed(turn: Turn) -> None:
            turn.issue(Draft(Message, ("XC",), NoClaims(), subject="x", body=TextBody("x")))
            fail(turn)

        with pytest.raises(RuntimeError, match="poison"):
            one.act(NOW, deed)
        assert rows(one, "SELECT * FROM outbox") == []


class TestRestart:
    """A participant that comes back finds what it committed."""

    def test_registry_and_inbox_are_known_again(self, tmp_path: Path) -> None:
        """What came before is a repeat, and the opening statements are not needed twice."""
        path = tmp_path / "XB.sqlite"
        one, _ = clerk(path)
        one.receive(letters("a"), NOW)
        known = one.registry
        one.close()
        again, duties = clerk(path)
        again.receive(letters("a", "b"), NOW + DAY)
        assert again.registry == known
        assert (duties.handled, duties.repeats) == (["b"], 1)

    def test_mail_that_a_relay_had_in_its_hands_is_due_again(self, tmp_path: Path) -> None:
        """A crash between taking mail and its confirm loses nothing."""
        path = tmp_path / "XB.sqlite"
        one, _ = clerk(path)

        def write(turn: Turn) -> None:
            later = {"XC": NOW + DAY}
            turn.issue(
                Draft(Message, ("XA", "XC"), NoClaims(), subject="x", body=TextBody("x"),
                      held_back=later)
            )  # fmt: skip

        one.act(NOW, write)
        assert len(one.take_mail(NOW, 10, ())) == 2
        one.close()
        again, _ = clerk(path)
        assert [each.recipient for each in again.take_mail(NOW, 10, ())] == ["XA", "XC"]

    def test_sequence_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        """Gap reports compare numbers across restarts."""
        path = tmp_path / "XB.sqlite"
        numbers = []
        for subject in ("x", "y"):
            one, _ = clerk(path)
            draft = Draft(Message, ("XC",), NoClaims(), subject=subject, body=TextBody("x"))
            numbers.append(one.act(NOW, partial(Turn.issue, draft=draft)))
            one.close()
        assert [each.statement.sequence for each in numbers] == [1, 2]


class TestBootstrap:
    """A newcomer starts from the authority's opening statements."""

    def test_refused_opening_statement_ends_the_start(self) -> None:
        """A node that was handed a damaged opening does not run without trust."""
        one = Participant(identity("XB"), Clerk(), lambda: 0)
        damaged = [opening()[0], opening()[1][:-1]]
        with pytest.raises(EnvironmentFailed, match="XB is not in the membership"):
            one.bootstrap(damaged, NOW)
        assert refused(one) == ["envelope_malformed"]

    def test_party_outside_the_membership_does_not_start(self) -> None:
        """The opening statements are addressed to members only."""
        stranger = replace(identity("XA"), signer=replace(identity("XA").signer, party="XZ"))
        one = Participant(stranger, Clerk(), lambda: 0)
        with pytest.raises(EnvironmentFailed, match="XZ is not in the membership"):
            one.bootstrap(opening(), NOW)


FIRST = diffusion(to=("XB", "XC"))
KNOWN = [
    (record.source, record.record_id, said.digest)
    for said in (FIRST, amendment(FIRST))
    for record in (version_of(said),)
]


@pytest.mark.parametrize("node", [bureau, secretariat], ids=["bureau", "secretariat"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_statement_of_an_entitled_party_is_taken_up_or_refused(
    node: Callable[[], Participant], data: st.DataObject
) -> None:
    """Whatever a hostile member signs, no handler fails, no batch is blocked, and ticks go on."""
    one = node()
    batch = [delivery(FIRST, one.party)]
    for _ in range(data.draw(st.integers(1, 6))):
        kind = data.draw(kinds())
        fields = data.draw(headers(kind, KNOWN))
        fields["issued_at"] = "2024-03-01T09:00:00.000Z"
        attachment = None
        if kind.body is not None:
            attachment = Plain(bytes(32), data.draw(any_body(kind.body)))
            fields["body_commitment"] = body_commitment(attachment.nonce, attachment.body)
        octets = pack(signed_anew(fields, fields["source"], attachment))
        batch.append(delivered(octets, fields["source"], kind.message_type, one.party))
    taken = one.receive(batch, NOW)
    for days in range(6):
        one.tick(NOW + days * DAY)
    one.close()
    assert list(taken.requeued) == []
