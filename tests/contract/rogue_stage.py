"""Where the rogue performs: a bureau of ours, keys in files, and some bus in between."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from msgspec import Struct

from bus.announcements import as_delivery, opening_statements
from bus.definitions import definitions
from bus.envelope import pack
from bus.host import Host
from bus.identifiers import AUTHORITY, SECRETARIAT, IdentifierSource
from bus.instants import DAY, Instant
from bus.messages.authority import KeyRevocation, KeyRevocationClaims, RevocationReason
from bus.participant import Duties, Identity, Participant
from bus.pki.certificates import key_id_of, verify_leaf
from bus.pki.keystore import (
    PkiFolder,
    load_authority,
    load_certificate_der,
    load_signing_identity,
)
from bus.registry import first_registry
from bus.statements import Draft, Signer, sign
from bus.topology import Topology
from ncb_nodes.duties import BureauDuties
from ncb_nodes.receiving_policy import ReceivingPolicy
from tests.acceptance.rogue_client import Definitions, Page, Rogue
from tests.acceptance.rogue_forgeries import Attempt, Gang

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PAGE_PATH: Final = REPOSITORY / "docs" / "protocol.md"
PAGE: Final = Page(PAGE_PATH)
SEED: Final = "rogue"

Publish = Callable[[str, str, str, bytes], Awaitable[str]]
"""User, exchange, routing key and octets; returns what the bus says of it."""


class Cast(Struct, frozen=True):
    """The codes of the members who take part."""

    me: str
    other: str
    expired: str
    revoked: str
    victim: str

    @property
    def codes(self) -> tuple[str, ...]:
        """All five."""
        return self.me, self.other, self.expired, self.revoked, self.victim


class Scene(Struct, frozen=True):
    """A network's keys and topology, the members who take part, and the time of the story."""

    pki: PkiFolder
    topology: Topology
    cast: Cast
    now: Instant
    definitions: Definitions

    @property
    def moment(self) -> datetime:
        """The time of the story as the rogue counts it."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.now)

    def gang(self) -> Gang:
        """Load the rogue's keys from their files."""
        me, other, expired, revoked, victim = self.cast.codes

        def rogue(code: str) -> Rogue:
            return Rogue.from_files(self.pki.path, code, self.moment)

        return Gang(rogue(me), rogue(other), rogue(expired), rogue(revoked), victim)

    def node(self, party: str, duties: Duties | None = None) -> Participant:
        """Return a party of ours that has taken up the opening statements and one revocation."""
        root = load_certificate_der(self.pki.root)
        authority = verify_leaf(load_certificate_der(self.pki.signing_certificate(AUTHORITY)), root)
        identity = Identity(
            self._signer(party), root, first_registry(authority), IdentifierSource(SEED, party)
        )
        duties = duties or BureauDuties(ReceivingPolicy(located_share=0))
        one = Participant(identity, duties, lambda: 0)
        one.bootstrap(self._opening(), self.now)
        one.receive((as_delivery(self._revocation(party), "key_revocation", party),), self.now)
        return one

    def _signer(self, party: str) -> Signer:
        key = load_signing_identity(self.pki, party).private_key
        return Signer(party, key_id_of(key.public_key()), key)

    def _opening(self) -> list[bytes]:
        # Nobody but the cast: on a shared broker the secretariat would write to all it knows.
        return opening_statements(
            self._signer(AUTHORITY),
            IdentifierSource(SEED, AUTHORITY),
            self.cast.codes,
            {},
            [self._certificate(party) for party in (*self.cast.codes, SECRETARIAT)],
            self.now,
        )

    def _certificate(self, party: str) -> bytes:
        """Return a party's leaf; of the member whose key has ended, one that says so."""
        if party != self.cast.expired:
            return load_certificate_der(self.pki.signing_certificate(party))
        key = load_signing_identity(self.pki, party).private_key.public_key()
        authority = load_authority(self.pki)
        return authority.certify_signing_key(party, key, self.now - 9 * DAY, self.now - DAY)

    def _revocation(self, party: str) -> bytes:
        stolen = bytes.fromhex(self._signer(self.cast.revoked).key_id)
        draft = Draft(
            KeyRevocation,
            (party,),
            KeyRevocationClaims(1, stolen, 0, RevocationReason.STOLEN),
            subject=party,
        )
        identifiers = IdentifierSource(SEED, AUTHORITY)
        return pack(sign(draft, self._signer(AUTHORITY), identifiers, 3, self.now).envelope)


class Stage:
    """The victim's node on a bus, and the rogue's way to it."""

    def __init__(self, scene: Scene, host: Host, publish: Publish, wait_seconds: float) -> None:
        self.scene = scene
        self.gang = scene.gang()
        self.host = host
        self.node = host.participant
        self._publish = publish
        self._wait_seconds = wait_seconds

    async def try_to(self, attempt: Attempt) -> str:
        """Publish an attempt for the victim and return what the bus says."""
        victim, named = self.gang.victim, attempt.key_user or attempt.user
        exchange, _ = self.scene.definitions.way_to(victim, PAGE.queue_kind(attempt.message_type))
        key = f"{named}.{attempt.message_type}.{victim}"
        return await self._publish(attempt.user, exchange, key, attempt.octets)

    async def perform(self, *attempts: Attempt) -> None:
        """Publish attempts and let the victim's node take up every one of them."""
        for attempt in attempts:
            assert await self.try_to(attempt) == "confirmed"
        taken = 0
        while taken < len(attempts):
            deliveries = await self.host.take(self._wait_seconds)
            assert deliveries
            await self.host.handle(deliveries)
            taken += len(deliveries)


def written_definitions(topology: Topology, folder: Path) -> Definitions:
    """Write the definitions file of a topology and let the rogue read it."""
    path = folder / "definitions.json"
    path.write_text(json.dumps(definitions(topology)))
    return Definitions(path)
