"""The registry of keys and members, and the authority's statements that alone change it."""

from pathlib import Path
from typing import Any

import pytest

from bus.identifiers import AUTHORITY, SECRETARIAT
from bus.instants import DAY
from bus.messages.authority import (
    CertificatesBody,
    KeyAnnouncement,
    KeyAnnouncementClaims,
    KeyRevocation,
    KeyRevocationClaims,
    Membership,
    MembershipClaims,
    RevocationReason,
)
from bus.messages.header import Closed, Header
from bus.messages.retraction import RetractionSet, RetractionSetClaims
from bus.pki.certificates import verify_leaf
from bus.pki.keystore import create_memory_pki
from bus.registry import first_registry
from bus.retraction_sets import FIRST_HASH, running_hash
from bus.statements import IssuedStatement
from tests.factories import (
    KEYS_BEGIN,
    KEYS_END,
    MEMBERS,
    NOW,
    PARTIES,
    bureau,
    delivery,
    diffusion,
    issued,
    newcomer_registry,
    pki,
    registry,
    signer,
)
from tests.post_office import outcomes, refused


def ordered(header: type[Header], claims: Closed, **how: Any) -> IssuedStatement:  # noqa: ANN401
    """Return a statement of the authority to the first bureau."""
    return issued(header, AUTHORITY, ("XB",), claims, **how)


def membership(number: int, *members: str) -> IssuedStatement:
    """Return a membership."""
    claims = MembershipClaims(number, sorted(members), {}, sealed=False)
    return ordered(Membership, claims, subject=f"{number}")


def announcement(number: int, *certificates: bytes) -> IssuedStatement:
    """Return a key announcement."""
    claims = KeyAnnouncementClaims(number, len(certificates))
    body = CertificatesBody(list(certificates))
    return ordered(KeyAnnouncement, claims, subject=f"{number}", body=body)


def revocation(party: str, now: int = NOW) -> IssuedStatement:
    """Return the revocation of a party's key."""
    key = bytes.fromhex(signer(party).key_id)
    claims = KeyRevocationClaims(1, key, 0, RevocationReason.STOLEN)
    return ordered(KeyRevocation, claims, subject=party, now=now)


class TestRegistry:
    """An immutable picture of who takes part and whose keys count."""

    def test_newcomer_knows_the_authoritys_key_alone(self) -> None:
        """All other trust has to be told by the authority."""
        first = newcomer_registry()
        assert [leaf.party for leaf in first.keys.values()] == [AUTHORITY]
        assert (first.members, first.membership_number) == (frozenset(), 0)

    @pytest.mark.parametrize("party", ["XA", SECRETARIAT])
    def test_first_key_must_be_the_authoritys(self, party: str) -> None:
        """Nobody else can be where trust begins."""
        leaf = verify_leaf(pki().signing[party].certificate_der, pki().root_der)
        with pytest.raises(ValueError, match=f"not that of {party}"):
            first_registry(leaf)

    def test_members_and_standing_parties_take_part(self) -> None:
        """Secretariat, Commission and authority need no membership."""
        known = registry()
        assert all(known.takes_part(party) for party in PARTIES)
        assert not known.takes_part("QQ")

    def test_later_membership_replaces_the_earlier_one(self) -> None:
        """Who is not in it takes part no longer; keys stay known."""
        later = registry().with_membership(2, ("XA",), {}, sealed=True)
        assert [party for party in MEMBERS if later.takes_part(party)] == ["XA"]
        assert later.keys == registry().keys
        assert registry().takes_part("XB")

    def test_first_revocation_of_a_key_stands(self) -> None:
        """A second one changes nothing, and other keys are untouched."""
        revoked = registry().with_revoked("a", 1).with_revoked("a", 2).with_revoked("b", 3)
        assert dict(revoked.revoked) == {"a": 1, "b": 3}
        assert dict(registry().revoked) == {}

    def test_registry_cannot_be_changed_in_place(self) -> None:
        """What one party is handed cannot be altered under another's eyes."""
        known: Any = registry()
        with pytest.raises(TypeError):
            known.keys["a"] = None
        with pytest.raises(AttributeError):
            known.sealed = True


class TestMembership:
    """Who takes part, told by the authority."""

    def test_newer_membership_comes_into_force(self) -> None:
        """It takes effect with the message that brings it."""
        one = bureau()
        one.receive([delivery(membership(2, "XA", "XB"), "XB")], NOW)
        assert one.registry.members == {"XA", "XB"}

    @pytest.mark.parametrize("number", [1])
    def test_membership_that_is_not_newer_is_refused(self, number: int) -> None:
        """An old list cannot bring an expelled member back."""
        one = bureau()
        one.receive([delivery(membership(number, "XA", "XB", "XC", "XD"), "XB")], NOW)
        assert refused(one) == ["membership_stale"]
        assert one.registry.membership_number == 1


class TestKeyAnnouncement:
    """Whose keys count, told by the authority and proven by the root."""

    def test_announced_key_is_accepted_from_then_on(self) -> None:
        """A member's next key serves beside its old one."""
        one = bureau()
        fresh = pki().authority.issue_signing("XA", KEYS_BEGIN, KEYS_END)
        one.receive([delivery(announcement(2, fresh.certificate_der), "XB")], NOW)
        keys = [leaf for leaf in one.registry.keys.values() if leaf.party == "XA"]
        assert (len(keys), one.registry.announcement_number) == (2, 2)

    def test_certificate_of_another_root_refuses_the_whole_announcement(self) -> None:
        """Not even the authority can vouch for keys that the root does not."""
        other = create_memory_pki(
            ["XA"], simulated_not_before=KEYS_BEGIN, simulated_not_after=KEYS_END
        )
        good = pki().authority.issue_signing("XC", KEYS_BEGIN, KEYS_END).certificate_der
        foreign = other.signing["XA"].certificate_der
        one = bureau()
        before = one.registry
        one.receive([delivery(announcement(2, good, foreign), "XB")], NOW)
        assert refused(one) == ["body_malformed"]
        assert one.registry == before

    def test_announcement_that_is_not_newer_is_refused(self) -> None:
        """Numbers only go up."""
        one = bureau()
        leaf = pki().signing["XA"].certificate_der
        one.receive([delivery(announcement(1, leaf), "XB")], NOW)
        assert refused(one) == ["membership_stale"]


class TestRevocation:
    """A key that counts no longer."""

    def test_statement_under_a_revoked_key_is_refused_even_in_the_same_batch(self) -> None:
        """The revocation takes effect with the message that brings it."""
        one = bureau()
        one.receive([delivery(revocation("XA"), "XB"), delivery(diffusion(), "XB")], NOW)
        assert refused(one) == ["signing_key_revoked"]

    def test_second_revocation_of_a_key_has_no_effect(self) -> None:
        """It is taken up and changes nothing."""
        one = bureau()
        again = revocation("XA", NOW + DAY)
        one.receive([delivery(revocation("XA"), "XB"), delivery(again, "XB")], NOW + DAY)
        assert outcomes(one, "key_revocation") == ["applied", "no_effect"]


class TestRestart:
    """The registry is computed anew from the statements kept; no second copy can disagree."""

    def test_members_keys_and_revocations_are_known_again(self, tmp_path: Path) -> None:
        """Everything that the authority said is in the inbox."""
        path = tmp_path / "XB.sqlite"
        one = bureau(path=path)
        fresh = pki().authority.issue_signing("XA", KEYS_BEGIN, KEYS_END)
        said = [membership(2, "XA", "XB"), announcement(2, fresh.certificate_der), revocation("XC")]
        one.receive([delivery(each, "XB") for each in said], NOW)
        before = one.registry
        one.close()
        assert bureau(path=path).registry == before

    def test_key_revoked_by_a_retraction_set_is_still_revoked(self, tmp_path: Path) -> None:
        """A member that was away learns of revocations from its sets, and must not forget them."""
        path = tmp_path / "XB.sqlite"
        one = bureau(path=path)
        stolen = bytes.fromhex(signer("XA").key_id)
        claims = RetractionSetClaims(
            number=1,
            previous_number=0,
            full=True,
            last_page=True,
            ended=[],
            blocked=[],
            revoked_keys=[stolen],
            running_hash=running_hash(FIRST_HASH, 1, [], [], [stolen]),
        )
        one.receive([delivery(issued(RetractionSet, SECRETARIAT, ("XB",), claims), "XB")], NOW)
        one.close()
        again = bureau(path=path)
        again.receive([delivery(diffusion(), "XB")], NOW)
        assert refused(again) == ["signing_key_revoked"]
