"""What tests of a private RabbitMQ share: a small network, logins, and looking for left-overs."""

import socket
import ssl
import time
from pathlib import Path
from typing import Any, Final

import aio_pika

from bus.pki.keystore import PkiFolder, TlsFiles, create_pki
from simulation.broker.private_broker import PrivateBroker

QUEUE: Final = "i247.data.FR"
GONE_SECONDS_MAX: Final = 10.0


def definitions() -> dict[str, Any]:
    """Return a virtual host with one member and its quorum queue."""
    everything = {"configure": "", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": "i247/test"}],
        "users": [{"name": "FR", "password_hash": "", "tags": ""}],
        "permissions": [{"user": "FR", "vhost": "i247/test", **everything}],
        "queues": [
            {
                "name": QUEUE,
                "vhost": "i247/test",
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "quorum"},
            }
        ],
    }


def new_pki(folder: Path) -> PkiFolder:
    """Write a PKI with one known member and one that the definitions do not name."""
    wall_now = int(time.time() * 1000)
    return create_pki(
        folder,
        ["FR", "XA"],
        simulated_not_before=0,
        simulated_not_after=wall_now,
        wall_now=wall_now,
    )


def client_context(tls: TlsFiles) -> ssl.SSLContext:
    """Return a TLS context that shows a user's certificate and checks the broker's."""
    context = ssl.create_default_context(cafile=tls.root)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


async def log_in(
    broker: PrivateBroker, context: ssl.SSLContext, query: str = "?auth=external"
) -> aio_pika.abc.AbstractConnection:
    """Connect as aio-pika users do."""
    return await aio_pika.connect(broker.url + query, ssl_context=context, timeout=10)


def traces(folder: Path) -> list[str]:
    """Return the processes that have `folder` in their command line or environment."""
    needle = str(folder).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if needle in told:
            found.append(f"{process.name}: {told[:1_000]!r}")
    return found


def is_open(port: int) -> bool:
    """Tell whether somebody listens on a local port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_gone(folder: Path, port: int, *, folder_too: bool = True) -> None:
    """Assert that processes and port of a broker, and mostly its folder, are gone soon."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while (traces(folder) or (folder_too and folder.exists())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (traces(folder), is_open(port)) == ([], False)
    assert not (folder_too and folder.exists())
