"""What a private RabbitMQ is told: configuration, environment and free ports, all its own.

Nothing of the system's own RabbitMQ is read or written: every path lies in the broker's folder,
every listener on 127.0.0.1, and the only way in is TLS with a client certificate.
"""

import secrets
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from bus.errors import BrokerUnavailable
from bus.pki.keystore import TlsFiles
from simulation.broker.broker_files import BrokerFiles
from simulation.broker.server_tree import ServerTree

HOST: Final = "localhost"
LOOPBACK: Final = "127.0.0.1"
_PORT_MIN: Final = 15_000
_EPHEMERAL_MIN_IF_UNKNOWN: Final = 32_768
_PORT_TRIES_MAX: Final = 200

memory_bytes_max: Final = 2_000_000_000
"""Above this the broker holds publishers back."""
disk_free_bytes_min: Final = 50_000_000
log_bytes_max: Final = 50_000_000
wal_bytes_max: Final = 64_000_000
"""Size of one write-ahead file of the quorum queues; the default, 512 MB, is for servers."""
handshake_milliseconds_max: Final = 30_000
"""Two hundred nodes may log in at once on two cores; the default of five seconds is short."""


class Ports(Struct, frozen=True):
    """The three ports of one private broker."""

    amqps: int
    distribution: int
    epmd: int


def configuration_text(ports: Ports, files: BrokerFiles, tls: TlsFiles) -> str:
    """Return rabbitmq.conf: one TLS listener, login by the certificate's common name alone."""
    settings = {
        "listeners.tcp": "none",
        "listeners.ssl.1": f"{LOOPBACK}:{ports.amqps}",
        "ssl_options.cacertfile": tls.root,
        "ssl_options.certfile": tls.certificate,
        "ssl_options.keyfile": tls.key,
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
        "ssl_options.versions.1": "tlsv1.3",
        "ssl_options.versions.2": "tlsv1.2",
        "ssl_cert_login_from": "common_name",
        "auth_mechanisms.1": "EXTERNAL",
        "handshake_timeout": handshake_milliseconds_max,
        "ssl_handshake_timeout": handshake_milliseconds_max,
        "load_definitions": files.definitions,
        "log.console": "false",
        "log.file.level": "info",
        # Several lines for each queue would make the log leave out others.
        "log.queue.level": "warning",
        "log.ra.level": "warning",
        "log.file.rotation.size": log_bytes_max,
        "raft.wal_max_size_bytes": wal_bytes_max,
        "vm_memory_high_watermark.absolute": memory_bytes_max,
        "disk_free_limit.absolute": disk_free_bytes_min,
    }
    return "".join(f"{key} = {value}\n" for key, value in settings.items())


def environment(ports: Ports, files: BrokerFiles, tree: ServerTree) -> dict[str, str]:
    """Return the whole environment of the broker; nothing of the runner's own gets into it."""
    folder = files.folder
    return {
        "PATH": f"{tree.erlang_bin}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(ports.epmd),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        # A crash dump would hold message bodies, and takes long to write.
        "ERL_CRASH_DUMP": "/dev/null",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_NODENAME": f"i247-{ports.epmd}@{HOST}",
        "RABBITMQ_DIST_PORT": str(ports.distribution),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-environment"),
        "RABBITMQ_CONFIG_FILE": str(files.configuration),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "no-such-advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(files.plugins),
        "RABBITMQ_MNESIA_BASE": str(files.data),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": str(files.log),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
        "RABBITMQ_PID_FILE": str(folder / "broker.pid"),
        # Distribution on loopback only; and no busy waiting, which takes processor time from the
        # nodes that share the machine.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
        ),
        # The script then becomes the server instead of a shell that waits for it.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def helper_command(ports: Ports, tree: ServerTree) -> list[str]:
    """Return how to start the port mapper, which Erlang would else start and leave behind."""
    return [str(tree.erlang_bin / "epmd"), "-port", str(ports.epmd), "-address", LOOPBACK]


def main_command(tree: ServerTree) -> list[str]:
    """Return how to start the server itself."""
    return [str(tree.sbin / "rabbitmq-server")]


def control_command(tree: ServerTree) -> list[str]:
    """Return how to run `rabbitmqctl`, before its arguments."""
    return [str(tree.sbin / "rabbitmqctl")]


def free_ports() -> Ports:
    """Return three ports that were free just now.

    They lie below the range from which the system takes the ports of outgoing connections, so
    that none is taken while the broker is down for a restart. Raises `BrokerUnavailable` when no
    three can be found.
    """
    numbers: list[int] = []
    source = secrets.SystemRandom()
    end = max(_ephemeral_min(), _PORT_MIN + 1_000)
    with ExitStack() as held:
        for _ in range(_PORT_TRIES_MAX):
            listener = held.enter_context(socket.socket())
            try:
                listener.bind((LOOPBACK, source.randrange(_PORT_MIN, end)))
            except OSError:
                continue
            numbers.append(listener.getsockname()[1])
            if len(numbers) == len(Ports.__struct_fields__):
                return Ports(*numbers)
    raise BrokerUnavailable(f"no free ports between {_PORT_MIN} and {end} on {LOOPBACK}")


def _ephemeral_min() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
        return int(text.split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_MIN_IF_UNKNOWN
