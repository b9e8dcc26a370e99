"""Carries mail between participants without a bus, and reads what they kept of it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from bus.instants import Instant
from bus.messages.catalogue import KINDS
from bus.messages.header import Header
from bus.participant import Participant
from tests.factories import delivered

MAIL_MAX = 10_000


class PostOffice:
    """A perfect bus among a few parties; mail to parties that are not here is dropped."""

    def __init__(self, *participants: Participant) -> None:
        self.parties = {each.party: each for each in participants}

    def carry(self, now: Instant) -> int:
        """Bring all mail that is due to its recipients until none is left; return how much."""
        carried = 0
        while sent := sum(self._relay(each, now) for each in self.parties.values()):
            carried += sent
        return carried

    def _relay(self, sender: Participant, now: Instant) -> int:
        mail = [each for each in sender.take_mail(now, MAIL_MAX, ()) if each.leaves_at <= now]
        for letter in mail:
            recipient = self.parties.get(letter.recipient)
            if recipient is not None:
                octets = delivered(
                    letter.content, sender.party, letter.message_type, letter.recipient
                )
                recipient.receive((octets,), now)
        sender.mail_settled([(each.message_id, each.recipient) for each in mail], (), now)
        return len(mail)

    def tick(self, now: Instant) -> None:
        """Let everyone do what is due, carrying mail before and after."""
        self.carry(now)
        for each in self.parties.values():
            each.tick(now)
        self.carry(now)

    def run(self, begin: Instant, end: Instant, step: Instant) -> None:
        """Tick at `begin` and after every step, up to `end`."""
        for now in range(begin, end + 1, step):
            self.tick(now)


def rows(participant: Participant, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a query finds in a party's store."""
    return participant.database.execute(query, values).fetchall()


def refused(participant: Participant) -> list[str]:
    """Return the codes of what a party refused, in order."""
    return [code for (code,) in rows(participant, "SELECT code FROM quarantine ORDER BY seq")]


def outcomes(participant: Participant, message_type: str) -> list[str]:
    """Return the first outcome of each message of a type that a party took up."""
    found = rows(
        participant,
        "SELECT outcome FROM inbox WHERE message_type = ? ORDER BY received_at, message_id",
        message_type,
    )
    return [outcome for (outcome,) in found]


def events(participant: Participant) -> list[str]:
    """Return the names of a party's history, in order."""
    return [event for (event,) in rows(participant, "SELECT event FROM history ORDER BY seq")]


def said(participant: Participant, message_type: str) -> Sequence[Header]:
    """Return the statements of a type that a party has issued, in the order of their ids."""
    found = rows(
        participant,
        "SELECT payload FROM outbox WHERE message_type = ? ORDER BY issued_at, message_id",
        message_type,
    )
    form = KINDS[message_type].header
    return [msgspec.msgpack.decode(payload, type=form) for (payload,) in found]


def mail_states(participant: Participant, message_type: str) -> dict[str, str]:
    """Return by recipient where the newest mail of a type stands."""
    found = rows(
        participant,
        "SELECT recipient, state FROM outbox_mail JOIN outbox USING (message_id)"
        " WHERE message_type = ? ORDER BY issued_at, message_id",
        message_type,
    )
    return dict(found)


def bodies(participant: Participant) -> list[bytes]:
    """Return every body that a party can still read, keys of the network left out."""
    found = rows(participant, "SELECT body FROM bodies WHERE source IS NOT NULL ORDER BY digest")
    return [body for (body,) in found]
