"""What a holder has: versions kept or withheld, tombstones, carried envelopes, stored standings."""

from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import holdings
from bus.instants import HOUR, instant_to_text
from bus.messages.alerts import Withdrawal, WithdrawalClaims, WithdrawalReason
from bus.messages.correspondence import EnvelopeBody
from bus.messages.review import BlockReason, Release, ReleaseClaims, ReviewOutcome
from bus.participant import Participant
from bus.standing import RecordState, Standing
from bus.statements import IssuedStatement
from bus.storage.records import RecordKey
from tests.factories import (
    NOW,
    amendment,
    block,
    bureau,
    decision,
    delivery,
    diffusion,
    issued,
    packed,
    retraction,
    review_opened,
    unblock,
    version_of,
    withdrawal,
)
from tests.post_office import bodies, events, outcomes, refused, rows
from tests.unit.bus.record_facts import POOL, Fact, folded

FIRST = diffusion()
KEY = RecordKey(version_of(FIRST).source, version_of(FIRST).record_id)
REJECTED = ReviewOutcome.REJECTED


def told(*said: IssuedStatement) -> Participant:
    """Return a bureau that has received these statements one after the other."""
    one = bureau()
    for each in said:
        one.receive([delivery(each, "XB")], NOW)
    return one


def standing(one: Participant) -> Standing:
    """Return the standing of the record in a store."""
    return one.stores.records.standing(KEY)


def kept_states(one: Participant) -> dict[bytes, str]:
    """Return by version the state that the store shows."""
    return dict(rows(one, "SELECT digest, state FROM versions"))


class TestVersions:
    """Bodies are kept only of what may be read."""

    def test_version_is_kept_with_when_and_how_it_came(self) -> None:
        """The first arrival stands."""
        one = told(FIRST, FIRST)
        arrival = one.stores.records.arrival(KEY, FIRST.digest)
        assert arrival is not None
        assert (arrival.message_id, arrival.stored_at) == (FIRST.message_id, NOW)
        assert len(bodies(one)) == 1

    @pytest.mark.parametrize(
        "before",
        [retraction(FIRST), withdrawal(FIRST), decision(FIRST, 2, REJECTED)],
        ids=["retracted", "withdrawn", "rejected"],
    )
    def test_body_of_what_was_taken_back_before_it_came_is_never_stored(
        self, before: IssuedStatement
    ) -> None:
        """The tombstone, or the rejection, was here first and wins."""
        one = told(before, FIRST)
        assert (outcomes(one, "diffusion"), bodies(one)) == (["withheld"], [])
        assert b"CANARY" not in one.database.image()

    @pytest.mark.parametrize(
        "before",
        [review_opened(FIRST), block(FIRST, 2), decision(FIRST)],
        ids=["marked", "blocked", "validated"],
    )
    def test_body_of_what_was_only_spoken_of_before_is_stored(
        self, before: IssuedStatement
    ) -> None:
        """Near miss: a mark, a block or a validation takes nothing back."""
        one = told(before, FIRST)
        assert (outcomes(one, "diffusion"), len(bodies(one))) == (["applied"], 1)

    def test_statement_about_a_record_not_seen_yet_waits_for_it(self) -> None:
        """It is kept, and counts when the record comes."""
        one = told(decision(FIRST), FIRST)
        assert outcomes(one, "review_decision") == ["waiting"]
        assert standing(one).state_of(FIRST.digest) is RecordState.VALIDATED


class TestWithdrawal:
    """The source's own word ends its record."""

    def test_withdrawal_erases_every_version(self) -> None:
        """With the bodies of carriers that were kept under the record."""
        one = told(FIRST, amendment(FIRST), withdrawal(FIRST))
        assert bodies(one) == []
        assert "record_erased" in events(one)
        assert set(kept_states(one).values()) == {"deleted"}

    def unseen(self, label: str) -> IssuedStatement:
        """Return the withdrawal of a record that nobody has received."""
        of = diffusion(label=label)
        claims = WithdrawalClaims(WithdrawalReason.ERROR)
        return issued(Withdrawal, "XA", of.statement.addressees, claims, subject=label,
                      record=version_of(of))  # fmt: skip

    def test_source_may_end_only_so_many_records_ahead_of_their_coming(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody fills another's store with tombstones; records that came are not counted."""
        monkeypatch.setattr(holdings, "WAITING_RECORDS_PER_SOURCE_MAX", 2)
        came = diffusion(label="came")
        one = told(came, *(self.unseen(label) for label in ("a", "b", "c")))
        assert outcomes(one, "withdrawal") == ["waiting", "waiting"]
        assert refused(one) == ["too_much_waiting"]
        one.receive([delivery(withdrawal(came), "XB")], NOW)
        assert outcomes(one, "withdrawal").count("applied") == 1

    def test_retractions_of_the_secretariat_are_never_too_many(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What protects a person is kept whatever the store holds."""
        monkeypatch.setattr(holdings, "WAITING_RECORDS_PER_SOURCE_MAX", 1)
        one = told(*(retraction(diffusion(label=label)) for label in ("a", "b", "c")))
        assert (outcomes(one, "retraction"), refused(one)) == (["waiting"] * 3, [])


class TestEquivocation:
    """Two different statements of one issuer under one number."""

    def test_number_used_twice_is_reported(self) -> None:
        """The more restrictive counts, and the pair is told to whoever reads on."""
        one = told(FIRST, decision(FIRST, 2), decision(FIRST, 2, REJECTED))
        assert events(one).count("equivocation_found") == 1
        assert standing(one).state_of(FIRST.digest) is RecordState.REJECTED

    def test_numbers_of_different_statements_and_repeats_are_not(self) -> None:
        """Near miss: another number, the same statement again, or another record."""
        one = told(FIRST, block(FIRST, 2), unblock(FIRST, 3), block(FIRST, 2),
                   decision(diffusion(label="other"), 2))  # fmt: skip
        assert "equivocation_found" not in events(one)


def release(of: IssuedStatement, envelope: bytes) -> IssuedStatement:
    """Return the release of a version to a bureau that it was not addressed to."""
    claims = ReleaseClaims(1, None, False, BlockReason.NEWCOMER)  # noqa: FBT003
    return issued(Release, "IPSG", ("XC",), claims, subject=envelope.hex()[-30:],
                  record=version_of(of), body=EnvelopeBody(envelope))  # fmt: skip


class TestCarriedEnvelope:
    """A version that comes inside another statement."""

    def test_released_version_is_stored_under_its_own_digest(self) -> None:
        """Later statements about it find it as if it had come directly."""
        one = bureau("XC")
        one.receive([delivery(release(FIRST, packed(FIRST)), "XC")], NOW)
        assert one.stores.records.arrival(KEY, FIRST.digest) is not None
        assert rows(one, "SELECT carrier FROM inbox WHERE message_type = 'diffusion'") != [(None,)]
        assert len(bodies(one)) == 1

    def test_second_release_of_a_version_has_no_effect(self) -> None:
        """It is held already."""
        one = bureau("XC")
        again = issued(
            Release, "IPSG", ("XC",), ReleaseClaims(2, None, False, BlockReason.REPAIR),  # noqa: FBT003
            subject="again", record=version_of(FIRST), body=EnvelopeBody(packed(FIRST)),
            now=NOW + HOUR,
        )  # fmt: skip
        one.receive([delivery(release(FIRST, packed(FIRST)), "XC")], NOW)
        one.receive([delivery(again, "XC")], NOW + HOUR)
        assert outcomes(one, "release") == ["applied", "no_effect"]

    @pytest.mark.parametrize(
        "inner",
        [
            packed(FIRST)[:-1],
            packed(diffusion(label="another record")),
            packed(withdrawal(FIRST)),
            b"",
        ],
        ids=["damaged", "of another record", "no version", "empty"],
    )
    def test_release_whose_inner_envelope_does_not_belong_is_refused(self, inner: bytes) -> None:
        """The secretariat's signature does not make another's statement."""
        one = bureau("XC")
        one.receive([delivery(release(FIRST, inner), "XC")], NOW)
        assert (refused(one), bodies(one)) == (["inner_envelope_refused"], [])


def apply_all(one: Participant, facts: Sequence[Fact]) -> None:
    """Fold facts into the store, each in a turn of its own."""
    for number, each in enumerate(facts):
        deed = partial(
            holdings.apply,
            statement=each.statement,
            digest=each.digest,
            replacement=each.replacement,
        )
        one.act(NOW + number, deed)


@settings(max_examples=100)
@given(st.lists(st.sampled_from(POOL), max_size=10))
def test_stored_standing_is_the_fold_and_the_states_shown_agree_with_it(
    facts: list[Fact],
) -> None:
    """What tables say of each version is never older than the last statement."""
    one = bureau()
    apply_all(one, facts)
    expected = folded(facts)
    assert standing(one) == expected
    assert kept_states(one) == {
        digest: str(expected.state_of(digest)) for digest in expected.versions
    }
    one.close()


def test_record_that_ended_keeps_the_instant_of_its_first_ending() -> None:
    """Later endings do not make the tombstone younger."""
    one = bureau()
    one.receive([delivery(withdrawal(FIRST), "XB")], NOW)
    one.receive([delivery(retraction(FIRST), "XB")], NOW + HOUR)
    [(ended_at,)] = rows(one, "SELECT ended_at FROM records")
    assert instant_to_text(ended_at) == instant_to_text(NOW)
