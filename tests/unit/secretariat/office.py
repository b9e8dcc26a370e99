"""A secretariat among real bureaus, with nothing between them but a perfect post."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from bus.instants import DAY, HOUR, Instant
from bus.messages.case_file import CaseFile
from bus.participant import Participant
from ncb_nodes.orders import AnyOrder, IssueDiffusion, OrderDone, carry_out
from ncb_nodes.receiving_policy import ReceivingPolicy
from secretariat.review import ReviewSettings
from tests.factories import NOW, bureau, case_file, secretariat
from tests.post_office import PostOffice, rows

SETTINGS: Final = ReviewSettings(
    reviewers=5, review_shortest=6 * HOUR, review_longest=6 * HOUR, slot=3 * HOUR
)
SLOT: Final = 3 * HOUR
DECIDED: Final = NOW + 12 * HOUR
"""By then whatever was sent at `NOW` has been reviewed, unless it waits for something."""


class Office:
    """The secretariat `gs` and members XA to XD, who act on nothing unless a test says so."""

    def __init__(
        self,
        settings: ReviewSettings = SETTINGS,
        refugees: Mapping[str, Sequence[str]] | None = None,
        absent: Sequence[str] = (),
        **policies: ReceivingPolicy,
    ) -> None:
        self.gs = secretariat(settings, refugees)
        cautious = ReceivingPolicy(located_share=0)
        self.members = {
            code: bureau(code, policies.get(code, cautious)) for code in ("XA", "XB", "XC", "XD")
        }
        present = [each for code, each in self.members.items() if code not in absent]
        self.post = PostOffice(self.gs, *present)
        self.post.tick(NOW)

    def order(self, member: str, order: AnyOrder, now: Instant = NOW) -> OrderDone:
        """Have a member carry out an order, without carrying mail yet."""
        return self.members[member].act(now, partial(carry_out, order=order))

    def diffuse(
        self,
        body: CaseFile | None = None,
        to: tuple[str, ...] = ("XB",),
        label: str = "one",
        source: str = "XA",
        now: Instant = NOW,
    ) -> OrderDone:
        """Have a member open a record, and carry the mail."""
        done = self.order(source, IssueDiffusion(label, to=to, case_file=body or case_file()), now)
        self.post.tick(now)
        return done

    def run(self, end: Instant, begin: Instant = NOW) -> None:
        """Tick slot by slot up to an instant."""
        self.post.run(begin, end, SLOT)

    def states(self, participant: Participant | None = None) -> list[str]:
        """Return how versions stand at a party, at the secretariat unless told otherwise."""
        return [state for (state,) in rows(
            participant or self.gs, "SELECT state FROM versions ORDER BY stored_at, digest"
        )]  # fmt: skip

    def cases(self) -> list[tuple[str, str | None, str | None]]:
        """Return state, outcome and ground of each case, the oldest first."""
        return rows(
            self.gs, "SELECT state, outcome, ground FROM cases ORDER BY opened_at, message_id"
        )

    def obligations(self) -> dict[str, str]:
        """Return by member how its newest obligation stands."""
        return dict(rows(
            self.gs,
            "SELECT member, state FROM obligations JOIN campaigns USING (message_id)"
            " ORDER BY opened_at, number",
        ))  # fmt: skip


def with_reviewers(number: int) -> ReviewSettings:
    """Return the settings with so many reviewers."""
    return replace(SETTINGS, reviewers=number)


A_DAY_LATER: Final = NOW + DAY
