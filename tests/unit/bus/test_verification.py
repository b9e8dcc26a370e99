"""Verification, step by step: every refusal provoked, every edge of time, replay and the cache."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from bus import refusals
from bus.envelope import OpenedEnvelope, Plain, Signature, open_envelope, pack
from bus.instants import DAY, instant_to_text
from bus.messages.catalogue import KINDS
from bus.messages.correspondence import EnvelopeBody, Message, NoClaims, TextBody
from bus.messages.review import BlockReason, Release, ReleaseClaims
from bus.refusals import EnvelopeRefused, Refusal
from bus.registry import Registry
from bus.statements import IssuedStatement
from bus.verification import CLOCK_SKEW_MAX, Arrival, EnvelopeCache, Evidence, Verifier
from tests.factories import (
    KEYS_BEGIN,
    KEYS_END,
    NOW,
    diffusion,
    header_fields,
    issued,
    newcomer_registry,
    opening,
    packed,
    registry,
    retraction,
    signed_anew,
    signer,
    version_of,
    withdrawal,
)
from tests.unit.bus.forgeries import (
    BODY,
    FORGERIES,
    HONEST,
    NONCE,
    OCTETS,
    Attempt,
    altered,
    attached,
    enveloped,
    issued_at,
    knowing,
    mapped,
    sealed_registry,
)


def refusal_of(attempt: Attempt) -> Refusal:
    """Return why a delivery is refused."""
    with pytest.raises(EnvelopeRefused) as caught:
        attempt.verified()
    return caught.value.refusal


def test_honest_delivery_passes_every_step() -> None:
    """The delivery from which all forgeries of this module are made is itself in order."""
    message = Attempt(OCTETS).verified()
    assert message.statement == HONEST.statement
    assert (message.digest, message.arrival) == (HONEST.digest, Arrival.FIRST)
    assert message.key_id == signer("XA").key_id


@pytest.mark.parametrize("code", FORGERIES)
def test_breaking_one_rule_is_refused_with_its_code(code: str) -> None:
    """Each rule has one refusal, and a delivery that breaks only this rule meets it."""
    assert refusal_of(FORGERIES[code]()).code == code


def test_every_refusal_of_verification_has_its_case() -> None:
    """A refusal that no delivery can provoke would be a promise that is not kept."""
    assert set(FORGERIES) == {code for code, each in refusals.CATALOGUE.items() if each.step > 0}


def test_catalogue_is_in_the_order_of_the_steps() -> None:
    """Codes are unique and listed as verification comes upon them; those of handlers come last."""
    steps = [refusal.step for refusal in refusals.CATALOGUE.values()]
    ordered = [step for step in steps if step]
    assert ordered == sorted(ordered)
    assert steps[len(ordered) :] == [0] * (len(steps) - len(ordered))


VARIANTS: dict[str, tuple[Callable[[], Attempt], Refusal]] = {
    "empty delivery": (lambda: Attempt(b""), refusals.ENVELOPE_MALFORMED),
    "octets after the envelope": (lambda: Attempt(OCTETS + b"\xc0"), refusals.ENVELOPE_MALFORMED),
    "a list instead of a map": (lambda: Attempt(b"\x90"), refusals.ENVELOPE_MALFORMED),
    "no signature": (lambda: enveloped(signatures=[]), refusals.SIGNATURE_COUNT_WRONG),
    "signature of 63 octets": (
        lambda: enveloped(signatures=[Signature(signer("XA").key_id, bytes(63))]),
        refusals.FIELD_MALFORMED,
    ),
    "unknown key in a signature": (
        lambda: mapped(lambda f: f["signatures"][0].update(alg="none")),
        refusals.FIELD_UNKNOWN,
    ),
    "unknown key in the claims": (
        lambda: altered(lambda f: f["claims"].update(note="x")),
        refusals.FIELD_UNKNOWN,
    ),
    "missing key of the envelope": (
        lambda: mapped(lambda f: f.pop("attachment")),
        refusals.FIELD_MISSING,
    ),
    "payload that is no msgpack": (
        lambda: Attempt(pack(signed_anew(b"\xc1", "XA", BODY, KINDS["diffusion"].payload_type))),
        refusals.FIELD_MALFORMED,
    ),
    "another media type": (
        lambda: enveloped(payload_type="text/plain"),
        refusals.MESSAGE_TYPE_UNKNOWN,
    ),
    "addressee listed twice": (
        lambda: altered(lambda f: f.update(addressees=["IPSG", "XB", "XB"])),
        refusals.ADDRESSEES_MALFORMED,
    ),
    "no addressees": (lambda: altered(lambda f: f.update(addressees=[])), refusals.FIELD_MALFORMED),
    "opening a record with a version": (
        lambda: altered(lambda f: f["record"].update(statement_digest=NONCE)),
        refusals.RECORD_RULE_BROKEN,
    ),
    "issued on a day that does not exist": (
        lambda: altered(lambda f: f.update(issued_at="2024-02-30T00:00:00.000Z")),
        refusals.FIELD_MALFORMED,
    ),
    "withdrawal that would expire": (
        lambda: Attempt(
            pack(
                signed_anew(
                    {
                        **header_fields(withdrawal(HONEST)),
                        "expires_at": instant_to_text(NOW + DAY),
                    },
                    "XA",
                )
            ),
            routing_key="XA.withdrawal.XB",
        ),
        refusals.FIELD_MALFORMED,
    ),
    "no commitment where a body is needed": (
        lambda: altered(lambda f: f.update(body_commitment=None)),
        refusals.BODY_MISSING,
    ),
    "commitment where there is no body": (
        lambda: Attempt(
            pack(
                signed_anew({**header_fields(withdrawal(HONEST)), "body_commitment": NONCE}, "XA")
            ),
            routing_key="XA.withdrawal.XB",
        ),
        refusals.BODY_UNEXPECTED,
    ),
    "empty nonce": (lambda: attached(Plain(b"", b"\x80")), refusals.NONCE_LENGTH_WRONG),
    "body with an unknown key": (
        lambda: attached(Plain(NONCE, b"\x81\xa1x\x01"), committed=True),
        refusals.BODY_MALFORMED,
    ),
    "attachment of an unheard scheme": (
        lambda: mapped(lambda f: f["attachment"].update(scheme="rot13")),
        refusals.FIELD_MALFORMED,
    ),
    "routing key of another user": (
        lambda: replace(Attempt(OCTETS), routing_key="XC.diffusion.XB"),
        refusals.ROUTING_KEY_MISMATCH,
    ),
    "routing key of another recipient": (
        lambda: replace(Attempt(OCTETS), routing_key="XA.diffusion.XC"),
        refusals.ROUTING_KEY_MISMATCH,
    ),
    "another's key that claims to be the source's": (
        lambda: Attempt(
            pack(
                replace(
                    altered_envelope := signed_anew(header_fields(HONEST), "XC", BODY),
                    signatures=[Signature(signer("XA").key_id, altered_envelope.signatures[0].sig)],
                )
            )
        ),
        refusals.SIGNATURE_INVALID,
    ),
    "signature of another statement of the source": (
        lambda: enveloped(signatures=diffusion(label="two").envelope.signatures),
        refusals.SIGNATURE_INVALID,
    ),
}


@pytest.mark.parametrize(("attempt", "refusal"), VARIANTS.values(), ids=VARIANTS)
def test_variant_of_a_forgery_is_refused_too(
    attempt: Callable[[], Attempt], refusal: Refusal
) -> None:
    """Neighbouring ways of breaking a rule meet the same refusals."""
    assert refusal_of(attempt()) is refusal


ORDER: dict[str, tuple[Attempt, Refusal]] = {
    "form before size of trust": (
        replace(FORGERIES["field_unknown"](), user="XC"),
        refusals.FIELD_UNKNOWN,
    ),
    "user before addressee": (
        replace(FORGERIES["not_addressed"](), user="XD"),
        refusals.USER_MISMATCH,
    ),
    "addressee before key": (
        knowing(newcomer_registry(), FORGERIES["not_addressed"]()),
        refusals.NOT_ADDRESSED,
    ),
    "key before signature": (
        knowing(newcomer_registry(), FORGERIES["signature_invalid"]()),
        refusals.SIGNING_KEY_UNKNOWN,
    ),
    "signature before freshness": (
        replace(FORGERIES["signature_invalid"](), now=NOW - DAY),
        refusals.SIGNATURE_INVALID,
    ),
    "signature before equivocation": (
        replace(FORGERIES["signature_invalid"](), known={("XA", HONEST.message_id): b"another"}),
        refusals.SIGNATURE_INVALID,
    ),
}


@pytest.mark.parametrize(("attempt", "refusal"), ORDER.values(), ids=ORDER)
def test_cheaper_step_answers_first(attempt: Attempt, refusal: Refusal) -> None:
    """Who breaks two rules is told the earlier one, and costs no signature check before it."""
    assert refusal_of(attempt) is refusal


def accepted(attempt: Attempt) -> bool:
    """Tell whether a delivery passes."""
    try:
        attempt.verified()
    except EnvelopeRefused:
        return False
    return True


def test_clock_may_differ_by_the_skew_and_no_more() -> None:
    """Issue in the future and expiry in the past are both forgiven for five minutes."""
    future = [NOW + CLOCK_SKEW_MAX, NOW + CLOCK_SKEW_MAX + 1]
    assert [accepted(altered(issued_at(each))) for each in future] == [True, False]
    past = [NOW - CLOCK_SKEW_MAX, NOW - CLOCK_SKEW_MAX - 1]
    expiring = [packed(diffusion(now=NOW - DAY, expires_at=each)) for each in past]
    assert [accepted(Attempt(each)) for each in expiring] == [True, False]


def test_key_counts_from_its_first_to_its_last_instant() -> None:
    """Validity is inclusive at both ends, and both issue and arrival have to lie within."""
    begins = [KEYS_BEGIN - 1, KEYS_BEGIN]
    assert [accepted(altered(issued_at(each))) for each in begins] == [False, True]
    arrivals = [KEYS_END, KEYS_END + 1]
    late = [replace(altered(issued_at(KEYS_END)), now=each) for each in arrivals]
    assert [accepted(each) for each in late] == [True, False]
    assert refusal_of(replace(altered(issued_at(KEYS_END + 1)), now=KEYS_END)) is (
        refusals.SIGNING_KEY_EXPIRED
    )


class TestRulingAfterTheEndOfItsKey:
    """What never expires is judged by when it was issued, where no bureau says it."""

    LATE = KEYS_END + DAY

    def refused(self, said: IssuedStatement, known: Registry = registry()) -> Refusal:  # noqa: B008
        """Return why a statement is refused that arrives after the keys' end."""
        source, kind = said.statement.source, said.statement.__struct_config__.tag
        return refusal_of(self.arriving(said, f"{source}.{kind}.XB", known))

    def arriving(self, said: IssuedStatement, key: str, known: Registry) -> Attempt:
        """Return the delivery of a statement after the keys' end."""
        user = said.statement.source
        return Attempt(packed(said), user=user, routing_key=key, registry=known, now=self.LATE)

    def test_retraction_is_repeated_past_the_end_of_its_key(self) -> None:
        """A holder that was away has to delete all the same."""
        late = self.arriving(retraction(HONEST), "IPSG.retraction.XB", registry())
        assert accepted(late)

    def test_retraction_issued_after_the_end_of_its_key_is_refused(self) -> None:
        """Near miss: it counts when it was issued, and the key had ended by then."""
        after = retraction(HONEST, now=KEYS_END + 1)
        assert self.refused(after) is refusals.SIGNING_KEY_EXPIRED

    def test_retraction_under_a_revoked_key_is_refused(self) -> None:
        """Near miss: a thief would sign under an early date."""
        revoked = registry().with_revoked(signer("IPSG").key_id, 1)
        assert self.refused(retraction(HONEST), revoked) is refusals.SIGNING_KEY_REVOKED

    def test_withdrawal_is_refused_after_the_end_of_its_key(self) -> None:
        """Near miss: it never expires either, but a bureau says it."""
        assert self.refused(withdrawal(HONEST)) is refusals.SIGNING_KEY_EXPIRED

    def test_message_of_the_secretariat_is_refused_after_the_end_of_its_key(self) -> None:
        """Near miss: it may expire, so nobody repeats it for ever."""
        said = issued(Message, "IPSG", ("XB",), NoClaims(), body=TextBody("late"))
        assert self.refused(said) is refusals.SIGNING_KEY_EXPIRED


def test_same_octets_again_are_a_repeat() -> None:
    """A repeat is no refusal: the stored answer is sent again."""
    known = {("XA", HONEST.message_id): HONEST.digest}
    assert replace(Attempt(OCTETS), known=known).verified().arrival is Arrival.REPEAT


def test_message_id_of_another_source_is_no_equivocation() -> None:
    """Ids are the source's own; two sources may use the same one."""
    known = {("XC", HONEST.message_id): b"another digest"}
    assert replace(Attempt(OCTETS), known=known).verified().arrival is Arrival.FIRST


def test_replay_to_another_signed_addressee_is_first_there() -> None:
    """Each addressee counts for itself; the source's user brought it to both."""
    copy = replace(Attempt(OCTETS), party="IPSG", routing_key="XA.diffusion.IPSG")
    assert copy.verified().arrival is Arrival.FIRST


def test_replay_by_another_user_is_refused() -> None:
    """Whoever received a statement cannot send it on in its source's name."""
    replayed = replace(Attempt(OCTETS), user="XB", routing_key="XB.diffusion.IPSG", party="IPSG")
    assert refusal_of(replayed) is refusals.USER_MISMATCH


def test_sealed_membership_still_reads_the_authoritys_own_bodies() -> None:
    """Certificates are no personal data and are needed before anyone can seal."""
    announcement = Attempt(
        opening()[0],
        user="AUTH",
        routing_key="AUTH.key_announcement.XB",
        registry=sealed_registry(),
    )
    assert announcement.verified().kind.message_type == "key_announcement"


class TestCache:
    """What is kept for one party must not let anything pass at another."""

    def verify(self, attempt: Attempt, cache: EnvelopeCache) -> bool:
        """Tell whether a delivery passes at a party that shares a cache."""
        verifier = Verifier(attempt.party, lambda source, name: attempt.known.get((source, name)),
                            cache)  # fmt: skip
        evidence = Evidence(attempt.user, attempt.routing_key)
        try:
            verifier.verify(attempt.octets, evidence, attempt.registry, attempt.now)
        except EnvelopeRefused:
            return False
        return True

    @pytest.mark.parametrize(
        "code",
        [
            "user_missing",
            "user_mismatch",
            "routing_key_mismatch",
            "not_addressed",
            "signing_key_unknown",
            "signing_key_revoked",
            "signing_key_expired",
            "attachment_scheme_forbidden",
            "equivocation",
        ],
    )
    def test_kept_result_skips_no_step_that_is_the_partys_own(self, code: str) -> None:
        """The same octets pass at one party and are refused at the next, cached or not."""
        cache, forged = EnvelopeCache(), FORGERIES[code]()
        assert forged.octets == OCTETS
        assert self.verify(Attempt(OCTETS), cache)
        assert not self.verify(forged, cache)

    def test_kept_signature_check_is_for_this_signature_alone(self) -> None:
        """A bad signature does not spoil the good one on the same header, nor the other way."""
        cache = EnvelopeCache()
        forged = FORGERIES["signature_invalid"]()
        assert [self.verify(each, cache) for each in (forged, Attempt(OCTETS), forged)] == [
            False,
            True,
            False,
        ]

    def test_freshness_is_checked_anew(self) -> None:
        """What was fresh yesterday may have expired at a party that reads it today."""
        cache = EnvelopeCache()
        fresh = Attempt(packed(diffusion(expires_at=NOW + DAY)))
        assert self.verify(fresh, cache)
        assert not self.verify(replace(fresh, now=NOW + 2 * DAY), cache)

    def test_cleared_cache_verifies_from_the_octets_again(self) -> None:
        """Clearing loses nothing but time."""
        cache = EnvelopeCache()
        first = cache.open(OCTETS)
        assert cache.open(OCTETS) is first
        cache.clear()
        assert cache.open(OCTETS) == first
        assert cache.open(OCTETS) is not first

    def test_cache_keeps_no_more_than_it_may(self) -> None:
        """The oldest entry makes room, so that deleted bodies do not pile up in memory."""
        cache = EnvelopeCache(entries_max=2)
        first = cache.open(OCTETS)
        for label in ("two", "three"):
            cache.open(packed(diffusion(label=label)))
        assert cache.open(OCTETS) is not first

    def test_party_without_a_cache_keeps_no_envelope(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Alone in its process, it would keep copies of bodies that no erasure reaches."""
        opened = []

        def opening_counted(octets: bytes) -> OpenedEnvelope:
            opened.append(octets)
            return open_envelope(octets)

        monkeypatch.setattr("bus.verification.open_envelope", opening_counted)
        verifier = Verifier("XB", lambda *_: None)
        for _ in range(2):
            verifier.verify(OCTETS, Evidence("XA", "XA.diffusion.XB"), registry(), NOW)
        assert opened == [OCTETS, OCTETS]


class TestInnerEnvelope:
    """An envelope inside a body: its own authorship counts, its journey is the carrier's."""

    def inner(self, octets: bytes, known: object = None, *, released: bool = False) -> bytes:
        """Verify an inner envelope at a party that is not among its addressees."""
        del known
        verifier = Verifier("XC", lambda *_: None)
        return verifier.verify_inner(octets, registry(), released=released).digest

    def test_party_that_was_not_addressed_may_be_handed_it(self) -> None:
        """A release brings a version to parties that its source did not name."""
        assert self.inner(OCTETS) == HONEST.digest

    def test_key_that_has_expired_since_still_counts(self) -> None:
        """The carrier vouches for when the statement was made."""
        old = altered(issued_at(KEYS_END))
        assert self.inner(old.octets) == open_envelope(old.octets).digest

    def test_forged_inner_envelope_is_refused(self) -> None:
        """Being carried by an honest party lends no authority."""
        with pytest.raises(EnvelopeRefused, match="signature_invalid"):
            self.inner(FORGERIES["signature_invalid"]().octets)

    def test_impossible_date_inside_is_a_refusal_like_any_other(self) -> None:
        """A carried envelope cannot bring down the party that looks into it."""
        with pytest.raises(EnvelopeRefused, match="field_malformed"):
            self.inner(altered(lambda f: f.update(issued_at="2024-02-30T00:00:00.000Z")).octets)

    def test_revoked_key_counts_inside_a_release_and_nowhere_else(self) -> None:
        """The secretariat confirms by release what was signed before a key was stolen."""
        revoked = registry().with_revoked(signer("XA").key_id, 1)
        verifier = Verifier("XC", lambda *_: None)
        assert verifier.verify_inner(OCTETS, revoked, released=True).digest == HONEST.digest
        with pytest.raises(EnvelopeRefused, match="signing_key_revoked"):
            verifier.verify_inner(OCTETS, revoked)

    def test_revoked_key_cannot_sign_the_release_itself(self) -> None:
        """Only what is inside is excused; the carrier passes all steps."""
        release = issued(
            Release,
            "IPSG",
            ("XC",),
            ReleaseClaims(1, None, False, BlockReason.REPAIR),  # noqa: FBT003
            record=version_of(HONEST),
            body=EnvelopeBody(OCTETS),
        )
        attempt = Attempt(
            packed(release), user="IPSG", routing_key="IPSG.release.XC", party="XC",
            registry=registry().with_revoked(signer("IPSG").key_id, 1),
        )  # fmt: skip
        assert refusal_of(attempt) is refusals.SIGNING_KEY_REVOKED
