"""The parties of a run: their identities, duties and opening statements, for both buses."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from bus.announcements import opening_statements
from bus.identifiers import AUTHORITY, SECRETARIAT, IdentifierSource
from bus.instants import DAY, Instant
from bus.participant import Duties, Identity, Participant
from bus.pki.certificates import key_id_of, verify_leaf
from bus.pki.keystore import create_memory_pki
from bus.registry import first_registry
from bus.statements import Signer
from bus.verification import EnvelopeCache
from ncb_nodes.duties import BureauDuties
from secretariat.duties import SecretariatConfig, SecretariatDuties
from simulation.plan import Plan
from simulation.profiles import DeviationLedger, conduct_of
from simulation.scenario import Scenario

VALIDITY_MARGIN: Instant = 30 * DAY
"""Signing leaves are valid from this long before a story until this long after it."""


class Trust(Struct, frozen=True):
    """What every party is handed: the root, and the authority's opening statements."""

    root_der: bytes
    certificates: Mapping[str, bytes]
    opening: Sequence[bytes]


def validity(scenario: Scenario, plan: Plan) -> tuple[Instant, Instant]:
    """Return from when until when the signing leaves of a run are valid."""
    settle = scenario.settle_days_max * DAY
    return plan.begins - VALIDITY_MARGIN, plan.ends + settle + VALIDITY_MARGIN


def signer_of(party: str, key: Ed25519PrivateKey) -> Signer:
    """Return a party's signer."""
    return Signer(party, key_id_of(key.public_key()), key)


def opening_trust(
    scenario: Scenario,
    plan: Plan,
    seed: str,
    root_der: bytes,
    certificates: Mapping[str, bytes],
    authority: Signer,
) -> Trust:
    """Have the authority say who takes part and whose keys count."""
    opening = opening_statements(
        authority,
        IdentifierSource(seed, AUTHORITY),
        scenario.members,
        scenario.zones,
        [certificates[party] for party in sorted(certificates)],
        plan.begins,
    )
    return Trust(root_der, certificates, opening)


def memory_keys(
    scenario: Scenario, plan: Plan
) -> tuple[bytes, dict[str, Signer], dict[str, bytes]]:
    """Make keys that live in memory only: root, signers and certificates by party."""
    not_before, not_after = validity(scenario, plan)
    pki = create_memory_pki(
        (*scenario.members, SECRETARIAT),
        simulated_not_before=not_before,
        simulated_not_after=not_after,
    )
    signers = {
        party: signer_of(party, identity.private_key) for party, identity in pki.signing.items()
    }
    certificates = {party: identity.certificate_der for party, identity in pki.signing.items()}
    return pki.root_der, signers, certificates


def identity_of(signer: Signer, trust: Trust, seed: str) -> Identity:
    """Return what a party needs to know of itself and of the network's root."""
    authority = verify_leaf(trust.certificates[AUTHORITY], trust.root_der)
    return Identity(
        signer,
        trust.root_der,
        first_registry(authority),
        IdentifierSource(seed, signer.party),
    )


def secretariat_duties(scenario: Scenario, plan: Plan) -> Duties:
    """Return the secretariat's duties in a story."""
    return SecretariatDuties(
        SecretariatConfig(scenario.review, dict(plan.refugees), plan.matching_key)
    )


def bureau_duties(scenario: Scenario, member: str, ledger: DeviationLedger) -> Duties:
    """Return a member's duties in a story, with the conduct of its profile."""
    return BureauDuties(
        scenario.policy_of(member), conduct_of(scenario.profiles.get(member), member, ledger)
    )


def joined(
    identity: Identity,
    duties: Duties,
    wall_ns: Callable[[], int],
    trust: Trust,
    now: Instant,
    path: Path | None = None,
    cache: EnvelopeCache | None = None,
) -> Participant:
    """Return a participant that has taken up the opening statements."""
    participant = Participant(identity, duties, wall_ns, path, cache)
    if not participant.registry.members:
        participant.bootstrap(trust.opening, now)
    return participant
