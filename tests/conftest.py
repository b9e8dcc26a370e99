"""Fixtures that more than one kind of test needs: a RabbitMQ and the contract's network on it.

Hypothesis looks at the same examples in every run, and at ones that no run has seen yet with
``make test ARGS="--hypothesis-profile=explore"``.
"""

import sys
import time
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio
from hypothesis import settings

from bus.definitions import definitions
from bus.pki.keystore import PkiFolder, create_pki
from simulation.broker.fetch import find_or_fetch
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree
from tests.contract.contract_network import MemberPool, contract_topology

_ONE_DAY: Final = 86_400_000

settings.register_profile("steady", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", deadline=None, print_blob=True)
if settings.get_current_profile_name() == "default":
    settings.load_profile("steady")


@pytest.fixture(scope="session")
def server_tree() -> ServerTree:
    """The installed RabbitMQ, or the fetched one in the user's cache."""
    return find_or_fetch(lambda line: print(line, file=sys.stderr))  # noqa: T201 - told once


@pytest.fixture(scope="session")
def contract_pki(tmp_path_factory: pytest.TempPathFactory) -> PkiFolder:
    """Certificates for every party of the contract's network; no test changes them."""
    wall_now = time.time_ns() // 1_000_000
    return create_pki(
        tmp_path_factory.mktemp("pki") / "pki",
        contract_topology().parties,
        simulated_not_before=wall_now - _ONE_DAY,
        simulated_not_after=wall_now + _ONE_DAY,
        wall_now=wall_now,
    )


@pytest.fixture(scope="session")
def member_pool() -> MemberPool:
    """Members of the contract's network on the session's broker, each handed out once."""
    return MemberPool()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def contract_broker(
    tmp_path_factory: pytest.TempPathFactory, contract_pki: PkiFolder, server_tree: ServerTree
) -> AsyncIterator[PrivateBroker]:
    """A running broker with the contract's network; tests log in to it and never stop it."""
    folder = tmp_path_factory.mktemp("broker") / "b"
    document = definitions(contract_topology())
    tls = contract_pki.broker_tls
    async with await PrivateBroker.start(folder, document, tls, server_tree) as broker:
        yield broker
