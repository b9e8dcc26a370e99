"""What every acceptance test may ask for: a RabbitMQ to start, found here or fetched once."""

import sys
from functools import partial

import pytest

from simulation.broker.fetch import find_or_fetch
from simulation.broker.server_tree import ServerTree


@pytest.fixture(scope="session")
def server_tree() -> ServerTree:
    """The installed RabbitMQ, or the fetched one in the user's cache."""
    return find_or_fetch(partial(print, file=sys.stderr))
