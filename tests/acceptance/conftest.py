"""What every acceptance test may ask for: a RabbitMQ to start, found here or fetched once."""

import sys
from functools import partial

import pytest

from bus.pki.keystore import PkiFolder
from simulation.broker.fetch import find_or_fetch
from simulation.broker.server_tree import ServerTree
from tests.acceptance.broker_support import new_pki


@pytest.fixture(scope="session")
def server_tree() -> ServerTree:
    """The installed RabbitMQ, or the fetched one in the user's cache."""
    return find_or_fetch(partial(print, file=sys.stderr))


@pytest.fixture(scope="session")
def broker_pki(tmp_path_factory: pytest.TempPathFactory) -> PkiFolder:
    """Certificates for the private broker's tests; no test changes them."""
    return new_pki(tmp_path_factory.mktemp("pki") / "pki")
