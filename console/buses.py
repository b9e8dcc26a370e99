"""Choosing and opening a bus for a command."""

import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from bus.errors import BadInput
from bus.pki.keystore import PkiFolder
from console.rendering import say
from simulation.broker.server_tree import find_installed_tree
from simulation.networks.embedded import EmbeddedNetwork
from simulation.networks.network import Network
from simulation.plan import Plan
from simulation.scenario import Scenario


class BusChoice(StrEnum):
    """The buses that a person can ask for."""

    AUTO = "auto"
    EMBEDDED = "embedded"
    RABBITMQ = "rabbitmq"


def chosen_bus(
    bus: BusChoice, broker_url: str, tell: Callable[[str], None], attach: Path | None = None
) -> BusChoice:
    """Resolve `auto`: RabbitMQ when a broker is given or installed, else embedded; say which."""
    if attach is not None and (bus is BusChoice.EMBEDDED or broker_url):
        message = "--attach makes no sense with --bus embedded or --broker-url"
        raise BadInput(message)
    if bus is BusChoice.EMBEDDED and broker_url:
        message = "--broker-url makes no sense with --bus embedded"
        raise BadInput(message)
    if bus is not BusChoice.AUTO:
        return bus
    if broker_url or attach is not None:
        tell("bus: rabbitmq, at the broker given")
        return BusChoice.RABBITMQ
    tree = find_installed_tree()
    if tree is not None:
        tell(f"bus: rabbitmq {tree.version}, {tree.origin}")
        return BusChoice.RABBITMQ
    tell("bus: embedded, as no RabbitMQ is installed (--bus rabbitmq fetches one)")
    return BusChoice.EMBEDDED


async def open_network(
    bus: BusChoice,
    scenario: Scenario,
    planned: Plan,
    seed: str,
    broker_url: str,
    pki: Path | None,
    attach: Path | None = None,
) -> Network:
    """Start the parties of a story on a bus, or attach to those that others have started."""
    if bus is BusChoice.EMBEDDED:
        return await EmbeddedNetwork(scenario, planned, seed, time.monotonic_ns).start()
    # imported here: the embedded mode must not need what only POSIX has
    from simulation.broker.fetch import find_or_fetch  # noqa: PLC0415
    from simulation.networks.attached import AttachedNetwork  # noqa: PLC0415
    from simulation.networks.rabbitmq import RabbitMQNetwork  # noqa: PLC0415
    from simulation.networks.run_broker import GivenBus, PrivateBus  # noqa: PLC0415

    if attach is not None:
        return await AttachedNetwork.attach(scenario, planned, seed, attach)
    if broker_url and pki is None:
        message = "--broker-url needs --pki: the folder with the keys that this broker trusts"
        raise BadInput(message)
    wanted = (
        GivenBus(broker_url, PkiFolder(pki))
        if broker_url and pki is not None
        else PrivateBus(find_or_fetch(say))
    )
    return await RabbitMQNetwork.start(scenario, planned, seed, time.time_ns, wanted)
