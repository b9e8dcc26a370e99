"""What a node does with the deliveries of a hostile client, stated once for both buses."""

import pytest

from tests.acceptance.rogue_client import Signed
from tests.acceptance.rogue_forgeries import FORGERIES, Attempt
from tests.contract.rogue_stage import PAGE, Stage
from tests.post_office import bodies, events, outcomes, refused

ON_ONE_BUS_ONLY = {"user_missing", "attachment_scheme_forbidden"}
"""Tried elsewhere: the embedded bus always sets the user, and no membership seals here."""


def by_me(stage: Stage, signed: Signed, message_type: str = "diffusion") -> Attempt:
    """Return an attempt under the rogue's own user."""
    return Attempt(signed.octets, stage.gang.me.code, message_type)


class RogueContract:
    """Inherited for each bus; a fixture `stage` gives a fresh node of the victim."""

    async def test_valid_diffusion_of_the_rogue_is_stored(self, stage: Stage) -> None:
        """A client written from the page alone can take part."""
        signed = stage.gang.me.diffusion(stage.gang.victim, "CANARY-valid")
        await stage.perform(by_me(stage, signed))
        assert outcomes(stage.node, "diffusion") == ["applied"]
        [body] = bodies(stage.node)
        assert b"CANARY-valid" in body
        assert stage.node.stores.records.body(signed.digest) is not None

    @pytest.mark.parametrize("name", FORGERIES)
    async def test_forgery_is_refused_with_the_promised_code(self, stage: Stage, name: str) -> None:
        """One quarantine row, nothing stored, and the next valid message comes through."""
        code, forge = FORGERIES[name]
        valid = stage.gang.me.diffusion(stage.gang.victim, "FINE-1")
        await stage.perform(forge(stage.gang), by_me(stage, valid))
        assert refused(stage.node) == [code]
        assert outcomes(stage.node, "diffusion") == ["applied"]
        assert len(bodies(stage.node)) == 1
        assert b"CANARY" not in stage.node.database.image()

    async def test_every_refusal_on_the_page_is_tried(self, stage: Stage) -> None:
        """A refusal that no client can provoke would be a promise that is not kept."""
        tried = {code for code, _ in FORGERIES.values()} | ON_ONE_BUS_ONLY | {"equivocation"}
        assert tried == PAGE.refusals()
        assert refused(stage.node) == []

    async def test_replay_is_counted_and_changes_nothing(self, stage: Stage) -> None:
        """The same octets again, three times."""
        signed = stage.gang.me.diffusion(stage.gang.victim)
        await stage.perform(*[by_me(stage, signed)] * 4)
        assert outcomes(stage.node, "diffusion") == ["applied"]
        assert events(stage.node).count("diffusion_repeated") == 3
        assert (refused(stage.node), len(bodies(stage.node))) == ([], 1)

    async def test_replay_by_another_member_is_refused(self, stage: Stage) -> None:
        """Whoever overhears a statement cannot bring it a second time."""
        signed = stage.gang.me.diffusion(stage.gang.victim)
        stolen = Attempt(signed.octets, stage.gang.other.code)
        await stage.perform(by_me(stage, signed), stolen)
        assert refused(stage.node) == ["user_mismatch"]
        assert events(stage.node).count("diffusion_repeated") == 0

    async def test_second_statement_under_one_message_id_is_refused(self, stage: Stage) -> None:
        """The first one stands."""
        me, victim = stage.gang.me, stage.gang.victim
        name = me.message_id()
        first = me.diffusion(victim, "FINE-1", message_id=name)
        second = me.diffusion(victim, "CANARY-2", message_id=name)
        await stage.perform(by_me(stage, first), by_me(stage, second))
        assert refused(stage.node) == ["equivocation"]
        assert stage.node.stores.records.body(first.digest) is not None
        assert b"CANARY" not in stage.node.database.image()

    async def test_publishing_under_anothers_routing_key_is_denied(self, stage: Stage) -> None:
        """The broker's permissions stop it before any node sees it."""
        gang = stage.gang
        octets = gang.other.diffusion(gang.victim).octets
        attempt = Attempt(octets, gang.me.code, key_user=gang.other.code)
        assert await stage.try_to(attempt) in ("denied", "refused 403")

    async def test_flood_of_forgeries_holds_no_valid_message_back(self, stage: Stage) -> None:
        """Everything is settled, whatever it was, and in one go."""
        gang = stage.gang
        forged = [forge(gang) for _, forge in FORGERIES.values()]
        valid = [by_me(stage, gang.me.diffusion(gang.victim, f"FINE-{n}")) for n in range(5)]
        mixed = [each for pair in zip(forged[:5], valid, strict=True) for each in pair]
        await stage.perform(*mixed, *forged[5:])
        assert sorted(refused(stage.node)) == sorted(code for code, _ in FORGERIES.values())
        assert outcomes(stage.node, "diffusion") == ["applied"] * 5
