"""A network of containers as a Compose document: who runs what, sees what, and may do what. Pure.

Every service has one folder, mounted read-only, and sees no other; what it writes goes to a volume
of its own, which the runner may read. The root file systems are read-only, the processes belong to
an ordinary user and have no capability, and no network leads out.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

BROKER_SERVICE: Final = "broker"
RUNNER_SERVICE: Final = "runner"
BROKER_PORT: Final = 5671
CONTROL_PORT: Final = 7247
MOUNTED_AT: Final = "/i247"
"""Where a service finds its own folder."""
DATA_AT: Final = "/data"
"""Where a party keeps its store and log, and where the runner finds those of all parties."""
RUNS_AT: Final = "/home/i247/runs"

broker_memory_mebibytes_max: Final = 1_024
party_memory_mebibytes_max: Final = 256
runner_memory_mebibytes_max: Final = 1_024
processes_max: Final = 256
open_files_max: Final = 8_192
"""Erlang reserves memory for as many as it may open, and some engines allow a thousand million."""

_BROKER_HOME: Final = "/var/lib/rabbitmq"
_BROKER_PROBE: Final = "rabbitmq-diagnostics -q check_port_listener"
_HEALTH: Final = {"interval": "2s", "timeout": "10s", "start_period": "60s", "retries": 5}
_NETWORK: Final = "bus"
_row_characters_max: Final = 90
"""Of a list in one line; a longer one has a line for each item."""
_PLAIN: Final = re.compile(r"[A-Za-z/.][A-Za-z0-9/._-]*\Z")
_NOT_TEXT: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
"""Words that YAML takes for something else than text; `no` is also Norway's service."""

Document = dict[str, Any]


class Owner(Struct, frozen=True):
    """The user and group whom all files belong to and as whom every container runs."""

    uid: int
    gid: int


class PartyService(Struct, frozen=True):
    """One party's service: its code, and the Python module that its process runs."""

    party: str
    module: str

    @property
    def name(self) -> str:
        """Its service, host name, folder and volume."""
        return service_name(self.party)


def service_name(party: str) -> str:
    """Return the service of a party; it is its DNS name too."""
    return party.lower()


def compose_document(
    parties: Sequence[PartyService], story: Sequence[str], owner: Owner
) -> Document:
    """Return the services of a network; `story` is what `i247 run` is told beside the network."""
    services: Document = {BROKER_SERVICE: _broker(owner)}
    services |= {party.name: _party(party, owner) for party in parties}
    services[RUNNER_SERVICE] = _runner(parties, story, owner)
    return {
        "services": services,
        "networks": {_NETWORK: {"internal": True}},
        "volumes": {party.name: {} for party in parties},
    }


def _broker(owner: Owner) -> Document:
    # Debian's package keeps the tool there, behind a wrapper that wants another user.
    probe = f"PATH=/usr/lib/rabbitmq/bin:$$PATH {_BROKER_PROBE} {BROKER_PORT}"
    return {
        "image": "${RABBITMQ_IMAGE:-rabbitmq:4-management}",
        **_confined(owner, broker_memory_mebibytes_max),
        # Its queues live and die with the container: nothing of them gets onto a disk.
        "tmpfs": [
            "/tmp",  # noqa: S108  (a path inside a container)
            f"{_BROKER_HOME}:uid={_uid(owner)},gid={_gid(owner)}",
        ],
        "ulimits": {"nofile": open_files_max},
        "environment": {
            "HOME": _BROKER_HOME,
            "RABBITMQ_NODENAME": "rabbit@localhost",
            # Erlang's own ports are for this container alone.
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none"
                " +sbwtdio none"
            ),
            # A crash dump would hold message bodies.
            "ERL_CRASH_DUMP": "/dev/null",
            "ERL_CRASH_DUMP_SECONDS": "0",
        },
        "volumes": [f"./{BROKER_SERVICE}:/etc/rabbitmq:ro"],
        "healthcheck": {"test": ["CMD-SHELL", probe], **_HEALTH},
    }


def _party(party: PartyService, owner: Owner) -> Document:
    probe = f"import socket; socket.create_connection(('127.0.0.1', {CONTROL_PORT}), 5).close()"
    return {
        **_ours(owner, party_memory_mebibytes_max),
        "command": [
            *("python", "-m", party.module),
            *("--settings", f"{MOUNTED_AT}/settings.toml"),
            *("--control", f"tls://0.0.0.0:{CONTROL_PORT}"),
        ],
        "volumes": [f"./{party.name}:{MOUNTED_AT}:ro", f"{party.name}:{DATA_AT}"],
        "healthcheck": {"test": ["CMD", "python", "-I", "-S", "-c", probe], **_HEALTH},
    }


def _runner(parties: Sequence[PartyService], story: Sequence[str], owner: Owner) -> Document:
    services = [BROKER_SERVICE, *(party.name for party in parties)]
    return {
        **_ours(owner, runner_memory_mebibytes_max),
        # A dollar would begin a variable of Compose.
        "command": [
            *("i247", "run", *(word.replace("$", "$$") for word in story)),
            *("--bus", "rabbitmq", "--attach", MOUNTED_AT),
        ],
        "volumes": [
            f"./{RUNNER_SERVICE}:{MOUNTED_AT}:ro",
            *(f"{party.name}:{DATA_AT}/{party.party}:ro" for party in parties),
            f"./runs:{RUNS_AT}",
        ],
        "depends_on": {service: {"condition": "service_healthy"} for service in services},
    }


def _ours(owner: Owner, memory_mebibytes_max: int) -> Document:
    return {
        "image": "${I247_IMAGE:-i247-sim}",
        # Process 1 has no default for a signal, so something smaller is that, and passes them on.
        "init": True,
        **_confined(owner, memory_mebibytes_max),
        "tmpfs": ["/tmp"],  # noqa: S108  (a path inside a container)
    }


def _confined(owner: Owner, memory_mebibytes_max: int) -> Document:
    return {
        "user": f"{_uid(owner)}:{_gid(owner)}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": f"{memory_mebibytes_max}m",
        "pids_limit": processes_max,
        "networks": [_NETWORK],
    }


def _uid(owner: Owner) -> str:
    return f"${{I247_UID:-{owner.uid}}}"


def _gid(owner: Owner) -> str:
    return f"${{I247_GID:-{owner.gid}}}"


def yaml_text(document: Mapping[str, Any]) -> str:
    """Return a document of mappings, lists, texts, whole numbers and truth values as YAML."""
    return "".join(f"{line}\n" for line in _lines(document, 0))


def _lines(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield f"{indent}{_scalar(key)}:"
            yield from _lines(inner, depth + 1)
        elif isinstance(inner, list) and len(json.dumps(inner)) > _row_characters_max:
            yield f"{indent}{_scalar(key)}:"
            yield from (f"{indent}  - {_scalar(item)}" for item in inner)
        else:
            yield f"{indent}{_scalar(key)}: {_scalar(inner)}"


def _scalar(value: object) -> str:
    """Return a value in one line: all but the plainest texts as JSON, which YAML contains."""
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)
