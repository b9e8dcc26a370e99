"""Who takes part and whose keys count: an immutable picture, changed only by the authority.

A key id in a message is a hint. The registry decides to whom a key belongs, what role it has and
when it counts; the algorithm is Ed25519 for every signing key and never chosen by a message.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from bus.identifiers import AUTHORITY, COMMISSION, SECRETARIAT, Role
from bus.pki.certificates import SigningCertificate

_STANDING_PARTIES = frozenset({SECRETARIAT, COMMISSION, AUTHORITY})


class Registry(Struct, frozen=True):
    """Keys by key id, and the membership in force (number 0: none announced yet).

    `revoked` maps a key id to the number of the revocation that ended it.
    """

    keys: Mapping[str, SigningCertificate]
    revoked: Mapping[str, int]
    membership_number: int = 0
    members: frozenset[str] = frozenset()
    zones: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    sealed: bool = False
    announcement_number: int = 0

    def takes_part(self, party: str) -> bool:
        """Tell whether a party may be addressed or heard under the membership in force."""
        return party in self.members or party in _STANDING_PARTIES

    def announced(self, certificates: Iterable[SigningCertificate], number: int) -> "Registry":
        """Return the registry with these certificates added."""
        keys = {**self.keys, **{leaf.key_id: leaf for leaf in certificates}}
        return replace(self, keys=MappingProxyType(keys), announcement_number=number)

    def with_membership(
        self,
        number: int,
        members: Iterable[str],
        zones: Mapping[str, Iterable[str]],
        *,
        sealed: bool,
    ) -> "Registry":
        """Return the registry with another membership in force."""
        return replace(
            self,
            membership_number=number,
            members=frozenset(members),
            zones=MappingProxyType({name: tuple(codes) for name, codes in zones.items()}),
            sealed=sealed,
        )

    def with_revoked(self, key_id: str, number: int) -> "Registry":
        """Return the registry with one key revoked; a first revocation stands."""
        return replace(self, revoked=MappingProxyType({key_id: number, **self.revoked}))


def first_registry(authority: SigningCertificate) -> Registry:
    """Return the registry a newcomer starts with: it knows the authority's key alone.

    Raises `ValueError` when the certificate is not the authority's.
    """
    if authority.role is not Role.AUTHORITY or authority.party != AUTHORITY:
        message = f"the first key must be the authority's, not that of {authority.party}"
        raise ValueError(message)
    return Registry(MappingProxyType({authority.key_id: authority}), MappingProxyType({}))
