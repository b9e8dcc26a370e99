"""Mail on its way, messages taken up, and what is kept of those that were refused."""

import pytest

from bus.envelope import Plain, pack
from bus.identifiers import SECRETARIAT
from bus.instants import HOUR
from bus.participant import SCHEMAS
from bus.statements import IssuedStatement
from bus.storage.database import Database
from bus.storage.inbox import Outcome
from bus.storage.outbox import Mail
from bus.storage.records import RecordKey
from bus.turn import Stores
from bus.verification import Evidence, Verifier
from tests.factories import NOW, amendment, delivery, diffusion, packed, registry, version_of

KEY = RecordKey("XA", version_of(diffusion()).record_id)


@pytest.fixture
def stores() -> Stores:
    """The tables of a party whose database lies in memory."""
    return Stores.over(Database("XA", SCHEMAS))


def post(stores: Stores, said: IssuedStatement, **due: int) -> None:
    """Put a statement with its body into the outbox, due for each recipient at an instant."""
    attachment = said.envelope.attachment
    assert isinstance(attachment, Plain)
    with stores.database.transaction():
        stores.records.keep_body(said.digest, KEY, attachment.nonce, attachment.body)
        recipients = list(due.items())
        stores.outbox.add(said.envelope, said.message_id, (KEY.source, KEY.record_id), NOW,
                          recipients)  # fmt: skip


def take(
    stores: Stores, now: int = NOW, limit: int = 10, parked: tuple[str, ...] = ()
) -> list[Mail]:
    """Take mail as the relay does."""
    with stores.database.transaction():
        return stores.outbox.take_mail(now, limit, parked)


def states(stores: Stores) -> dict[str, tuple[str, int]]:
    """Return state and attempts of the mail to each recipient."""
    found = stores.database.execute("SELECT recipient, state, attempts FROM outbox_mail")
    return {recipient: (state, attempts) for recipient, state, attempts in found}


class TestOutbox:
    """Statements that a party issued, and their mail to each recipient."""

    def test_mail_holds_the_very_octets_that_were_signed(self, stores: Stores) -> None:
        """The envelope is put together from header, signature and the one copy of its body."""
        said = diffusion()
        post(stores, said, XB=NOW, IPSG=NOW)
        mail = take(stores)
        assert [each.recipient for each in mail] == ["IPSG", "XB"]
        assert {each.content for each in mail} == {packed(said)}
        assert stores.outbox.content(said.message_id) == packed(said)

    def test_confirmed_mail_is_sent_once(self, stores: Stores) -> None:
        """Each recipient is confirmed for itself."""
        said = diffusion()
        post(stores, said, XB=NOW, IPSG=NOW)
        stores.outbox.confirmed([(said.message_id, "XB")], NOW)
        assert [each.recipient for each in take(stores)] == ["IPSG"]
        assert states(stores) == {"XB": ("sent", 1), "IPSG": ("due", 0)}

    def test_mail_that_the_broker_did_not_confirm_stays_due(self, stores: Stores) -> None:
        """An attempt is counted, and the mail is tried again."""
        said = diffusion()
        post(stores, said, XB=NOW)
        stores.outbox.attempted([(said.message_id, "XB")])
        assert states(stores) == {"XB": ("due", 1)}
        assert len(take(stores)) == 1

    def test_parked_recipient_holds_nobody_else_back(self, stores: Stores) -> None:
        """The limit counts mail that can leave, so parked mail does not use it up."""
        for label in ("one", "two", "three"):
            post(stores, diffusion(label=label), XB=NOW, XC=NOW)
        assert [each.recipient for each in take(stores, limit=3, parked=("XB",))] == ["XC"] * 3

    def test_older_mail_leaves_first(self, stores: Stores) -> None:
        """By due time, then by message id."""
        later, sooner = diffusion(label="one"), diffusion(label="two")
        post(stores, later, XB=NOW)
        post(stores, sooner, XB=NOW - HOUR)
        assert [each.message_id for each in take(stores, limit=1)] == [sooner.message_id]

    def test_mail_for_later_is_in_transit_and_due_again_after_a_crash(self, stores: Stores) -> None:
        """The relay holds it until its time; if the relay dies, nothing is lost."""
        post(stores, diffusion(), XB=NOW + HOUR)
        [letter] = take(stores)
        assert letter.leaves_at == NOW + HOUR
        assert states(stores)["XB"][0] == "transit"
        assert take(stores) == []
        stores.outbox.recover()
        assert len(take(stores)) == 1

    def test_mail_whose_body_was_erased_is_cancelled(self, stores: Stores) -> None:
        """Erasing a body erases it from mail that has not left, and nothing is sent without it."""
        post(stores, diffusion(), XB=NOW, XC=NOW)
        stores.records.erase_record(KEY, NOW)
        assert take(stores) == []
        assert {state for state, _ in states(stores).values()} == {"cancelled"}

    def test_cancelled_mail_cannot_be_sent_again(self, stores: Stores) -> None:
        """A repeat of what no longer exists is nothing."""
        said = diffusion()
        post(stores, said, XB=NOW)
        stores.records.erase_record(KEY, NOW)
        take(stores)
        stores.outbox.send_again(said.message_id, "XB", NOW)
        assert states(stores)["XB"][0] == "cancelled"
        assert stores.outbox.content(said.message_id) is None

    def test_sent_mail_can_be_sent_again_with_the_same_octets(self, stores: Stores) -> None:
        """To the one recipient that has to have it once more."""
        said = diffusion()
        post(stores, said, XB=NOW, XC=NOW)
        stores.outbox.confirmed([(said.message_id, "XB"), (said.message_id, "XC")], NOW)
        stores.outbox.send_again(said.message_id, "XB", NOW + HOUR)
        [letter] = take(stores, NOW + HOUR)
        assert (letter.recipient, letter.content) == ("XB", packed(said))

    def test_newest_version_of_an_own_record_is_found(self, stores: Stores) -> None:
        """An amendment replaces what came before it, a decision or message does not."""
        first = diffusion()
        second = amendment(first, now=NOW + HOUR)
        post(stores, first, XB=NOW)
        assert stores.outbox.versions_of(*_key()) == (first.statement, first.digest)
        post(stores, second, XB=NOW)
        assert stores.outbox.versions_of(*_key()) == (first.statement, second.digest)

    def test_record_that_was_not_opened_here_is_an_error(self, stores: Stores) -> None:
        """Only the source knows the versions of its record by heart."""
        with pytest.raises(LookupError, match="no record XA/unheard"):
            stores.outbox.versions_of("XA", "unheard")


def _key() -> tuple[str, str]:
    return KEY.source, KEY.record_id


class TestInbox:
    """What was taken up, by source and message id."""

    def take_up(self, stores: Stores, said: IssuedStatement, outcome: Outcome) -> None:
        """Keep a verified message."""
        brought = delivery(said, "XB")
        evidence = Evidence(brought.user_id, brought.routing_key)
        verifier = Verifier("XB", stores.inbox.known_digest)
        message = verifier.verify(brought.content, evidence, registry(), NOW)
        stores.inbox.add(message, outcome, NOW)

    def test_message_is_known_within_its_own_transaction_and_ever_after(
        self, stores: Stores
    ) -> None:
        """A repeat in the same batch is recognised before anything is written."""
        said = diffusion()
        with stores.database.transaction():
            assert stores.inbox.known_digest("XA", said.message_id) is None
            self.take_up(stores, said, Outcome.APPLIED)
            assert stores.inbox.known_digest("XA", said.message_id) == said.digest
        assert stores.inbox.known_digest("XA", said.message_id) == said.digest
        assert stores.inbox.known_digest("XC", said.message_id) is None

    def test_message_of_a_transaction_that_failed_is_new_again(self, stores: Stores) -> None:
        """What was undone was never taken up."""
        said = diffusion()

        def fail() -> None:
            with stores.database.transaction():
                self.take_up(stores, said, Outcome.APPLIED)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert stores.inbox.known_digest("XA", said.message_id) is None

    def test_message_that_was_rolled_back_is_new_again_and_the_next_is_not_confused(
        self, stores: Stores
    ) -> None:
        """Another message may take the place of the one undone."""
        undone, kept = diffusion(label="undone"), diffusion(label="kept")
        with stores.database.transaction():
            stores.database.savepoint()
            self.take_up(stores, undone, Outcome.APPLIED)
            stores.database.roll_back()
            stores.database.release()
            assert stores.inbox.known_digest("XA", undone.message_id) is None
            self.take_up(stores, kept, Outcome.APPLIED)
            assert stores.inbox.known_digest("XA", undone.message_id) is None
            assert stores.inbox.known_digest("XA", kept.message_id) == kept.digest

    def test_query_within_an_undone_message_leaves_those_before_it(self, stores: Stores) -> None:
        """A query has gathered rows written, and only those of its own message are undone."""
        before, undone = diffusion(label="before"), diffusion(label="undone")
        with stores.database.transaction():
            self.take_up(stores, before, Outcome.APPLIED)
            stores.database.savepoint()
            self.take_up(stores, undone, Outcome.APPLIED)
            assert stores.inbox.header("XA", undone.message_id) is not None
            stores.database.roll_back()
            stores.database.release()
        assert stores.inbox.known_digest("XA", undone.message_id) is None
        assert stores.inbox.known_digest("XA", before.message_id) == before.digest

    def test_inbox_keeps_the_signed_header_and_no_body(self, stores: Stores) -> None:
        """The row is the tombstone's evidence and survives deletion."""
        said = diffusion()
        with stores.database.transaction():
            self.take_up(stores, said, Outcome.WITHHELD)
        [row] = stores.database.execute(
            "SELECT payload, signature, outcome, record_id FROM inbox"
        ).fetchall()
        assert row == (
            said.envelope.payload,
            said.envelope.signatures[0].sig,
            "withheld",
            KEY.record_id,
        )
        assert b"CANARY" in pack(said.envelope)
        assert b"CANARY" not in stores.database.image()


def test_quarantine_keeps_code_digest_and_size(stores: Stores) -> None:
    """Enough to account for a delivery, and nothing of what it carried."""
    with stores.database.transaction():
        stores.quarantine.add(
            NOW, "field_unknown", b"d" * 32, 99, "claims.", SECRETARIAT, {"source": "XA"}
        )
    [row] = stores.database.execute("SELECT * FROM quarantine").fetchall()
    assert row[1:] == (
        NOW, "field_unknown", b"d" * 32, 99, "claims.", "IPSG", None, None, "XA", None, None,
    )  # fmt: skip
