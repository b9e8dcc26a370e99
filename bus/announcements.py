"""The authority's opening statements: who takes part, and whose keys count.

A newcomer is handed them before any data. They travel as ordinary envelopes, so one verification
serves them at start and over the bus alike.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from bus.envelope import pack
from bus.identifiers import AUTHORITY, SECRETARIAT, IdentifierSource
from bus.instants import Instant
from bus.messages.authority import (
    CertificatesBody,
    KeyAnnouncement,
    KeyAnnouncementClaims,
    Membership,
    MembershipClaims,
)
from bus.messages.header import ADDRESSEES_MAX
from bus.ports import Delivery
from bus.statements import Draft, Signer, sign

_STANDING_ADDRESSEES: Final = (SECRETARIAT,)


def opening_statements(
    signer: Signer,
    identifiers: IdentifierSource,
    members: Sequence[str],
    zones: Mapping[str, Sequence[str]],
    certificates: Sequence[bytes],
    now: Instant,
) -> list[bytes]:
    """Return the envelopes of the first key announcement and the first membership.

    Raises `ValueError` for more members than one statement can address.
    """
    addressees = (*members, *_STANDING_ADDRESSEES)
    if len(addressees) > ADDRESSEES_MAX:
        message = f"{len(members)} members are more than one statement can address"
        raise ValueError(message)
    announcement = Draft(
        KeyAnnouncement,
        addressees,
        KeyAnnouncementClaims(1, len(certificates)),
        subject="1",
        body=CertificatesBody(list(certificates)),
    )
    membership = Draft(
        Membership,
        addressees,
        MembershipClaims(
            1,
            sorted(members),
            {name: sorted(codes) for name, codes in sorted(zones.items())},
            sealed=False,
        ),
        subject="1",
    )
    drafts = (announcement, membership)
    return [
        pack(sign(draft, signer, identifiers, number, now).envelope)
        for number, draft in enumerate(drafts, 1)
    ]


def as_delivery(octets: bytes, message_type: str, party: str) -> Delivery:
    """Return an opening statement in the form in which the bus would have delivered it."""
    return Delivery(
        queue="",
        content=octets,
        user_id=AUTHORITY,
        routing_key=f"{AUTHORITY}.{message_type}.{party}",
        redelivered=False,
        tag=None,
    )


OPENING_TYPES: Final = ("key_announcement", "membership")
