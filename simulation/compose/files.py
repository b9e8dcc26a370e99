"""Everything a network of containers is started from: one folder a service, and compose.yaml.

::

    compose.yaml
    authority/   the root's and the authority's keys; mounted nowhere
    broker/      rabbitmq.conf, enabled_plugins, definitions.json, its TLS key
    <party>/     settings.toml, its signing, TLS and control keys, its token, its trust
    runner/      network.toml, the administrator's TLS key, every token, public certificates
    runs/        where the runner writes; empty

All of it is readable by its owner alone, and the containers run as that owner, since a key that
others can read is refused. A network is made for one story and one seed.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bus.control.wire import TlsAddress
from bus.definitions import definitions
from bus.errors import BadInput
from bus.identifiers import AUTHORITY, SECRETARIAT
from bus.instants import Instant, instant_to_text
from bus.pki.keystore import (
    PkiFolder,
    create_pki,
    load_authority,
    load_certificate_der,
    load_signing_identity,
)
from bus.settings import FORMAT_VERSION as SETTINGS_FORMAT_VERSION
from bus.topology import ADMIN_USER, VIRTUAL_HOST, network_topology
from simulation.broker.configuration import handshake_milliseconds_max, wal_bytes_max
from simulation.cast import Trust, opening_trust, signer_of, validity
from simulation.compose.document import (
    BROKER_PORT,
    BROKER_SERVICE,
    CONTROL_PORT,
    DATA_AT,
    RUNNER_SERVICE,
    Owner,
    PartyService,
    broker_memory_mebibytes_max,
    compose_document,
    yaml_text,
)
from simulation.networks.attached import FORMAT_VERSION as ATTACHED_FORMAT_VERSION
from simulation.networks.attached import (
    LEDGER_FILE,
    LOG_FILE,
    STORE_FILE,
    AttachedParty,
    NetworkDescription,
    NetworkFolder,
    story_digest,
)
from simulation.networks.files import toml_lines
from simulation.networks.party_process import party_module
from simulation.plan import Plan
from simulation.scenario import Scenario

_CONTROL_CERTIFICATE: Final = "control.pem"
_CONTROL_KEY: Final = "control.key"
_SHARED_WITH_RUNNER: Final = "token.key"
_MATCHING_KEY: Final = "matching.key"
_REFUGEES: Final = "refugees.json"
broker_memory_bytes_max: Final = broker_memory_mebibytes_max * 1024 * 1024 // 2
"""Above this the broker holds publishers back; the rest is for the files it keeps in memory."""
_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600


class ComposeRequest(Struct, frozen=True):
    """What a network of containers is made for, and what its maker hands in.

    `story` is what `i247 run` must be told to tell this very scenario with this seed. `token`
    returns a new secret for a control port at each call.
    """

    scenario: Scenario
    plan: Plan
    seed: str
    story: tuple[str, ...]
    owner: Owner
    wall_now: Instant
    token: Callable[[], str]


def write_compose_files(folder: Path, request: ComposeRequest) -> None:
    """Write everything or, after an error, nothing.

    Raises `BadInput` when something is at `folder` already or nothing can be written there.
    """
    try:
        if folder.exists():
            raise BadInput(f"{folder}: something is there already; keys are never overwritten")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _Writer(partial, request).write()
            _hand_over(partial, request.owner)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written: {error.strerror}") from error


class _Writer:
    """Fills one folder."""

    def __init__(self, folder: Path, request: ComposeRequest) -> None:
        self._folder = folder
        self._request = request
        self._parties = [
            PartyService(party, party_module(party, has_profile=party in request.scenario.profiles))
            for party in (SECRETARIAT, *request.scenario.members)
        ]

    def write(self) -> None:
        """Write keys first, then what is told about them."""
        request = self._request
        not_before, not_after = validity(request.scenario, request.plan)
        pki = create_pki(
            self._folder / "authority",
            request.scenario.members,
            simulated_not_before=not_before,
            simulated_not_after=not_after,
            wall_now=request.wall_now,
            broker_dns_names=(BROKER_SERVICE,),
        )
        opening = msgspec.msgpack.encode(list(self._trust(pki).opening))
        self._write_runner(pki, opening)
        self._write_broker(pki)
        for party in self._parties:
            self._write_party(party, pki, opening)
        (self._folder / "runs").mkdir()
        document = compose_document(self._parties, request.story, request.owner)
        (self._folder / "compose.yaml").write_text(yaml_text(document), "utf-8")

    def _trust(self, pki: PkiFolder) -> Trust:
        request = self._request
        certificates = {
            party: load_certificate_der(pki.signing_certificate(party))
            for party in (*request.scenario.members, SECRETARIAT, AUTHORITY)
        }
        authority = load_signing_identity(pki, AUTHORITY)
        return opening_trust(
            request.scenario,
            request.plan,
            request.seed,
            load_certificate_der(pki.root),
            certificates,
            signer_of(AUTHORITY, authority.private_key),
        )

    def _write_broker(self, pki: PkiFolder) -> None:
        broker = self._folder / BROKER_SERVICE
        pki.broker_tls.key.parent.rename(broker)
        shutil.copy(pki.root, broker)
        (broker / "rabbitmq.conf").write_text(broker_configuration(), "utf-8")
        (broker / "enabled_plugins").write_text("[rabbitmq_auth_mechanism_ssl].\n", "utf-8")
        document = definitions(network_topology(self._request.scenario.members))
        (broker / "definitions.json").write_bytes(msgspec.json.encode(document))

    def _write_party(self, service: PartyService, pki: PkiFolder, opening: bytes) -> None:
        """Move a party's keys to where it alone sees them, and add what else it is told."""
        folder = self._folder / service.name
        pki.signing_key(service.party).parent.rename(folder)
        shutil.copy(pki.root, folder)
        shutil.copy(pki.signing_certificate(AUTHORITY), folder / "authority.pem")
        (folder / "opening.msgpack").write_bytes(opening)
        control = load_authority(pki).issue_broker_tls(self._request.wall_now, (service.name,))
        (folder / _CONTROL_CERTIFICATE).write_bytes(control.certificate_pem)
        (folder / _CONTROL_KEY).write_bytes(control.key_pem)
        token = NetworkFolder(self._folder / RUNNER_SERVICE).token(service.party)
        shutil.copy(token, folder / _SHARED_WITH_RUNNER)
        if service.party == SECRETARIAT:
            (folder / _MATCHING_KEY).write_bytes(self._request.plan.matching_key)
            (folder / _REFUGEES).write_bytes(msgspec.json.encode(self._request.plan.refugees))
        lines = toml_lines(party_settings(self._request, service.party))
        (folder / "settings.toml").write_text("\n".join(lines) + "\n", "utf-8")

    def _write_runner(self, pki: PkiFolder, opening: bytes) -> None:
        """Copy the public certificates, and move the administrator's key."""
        request = self._request
        runner = NetworkFolder(self._folder / RUNNER_SERVICE)
        runner.pki.path.mkdir(parents=True)
        shutil.copy(pki.root, runner.pki.root)
        for party in (*request.scenario.members, SECRETARIAT, AUTHORITY):
            copy = runner.pki.signing_certificate(party)
            copy.parent.mkdir()
            shutil.copy(pki.signing_certificate(party), copy)
        pki.tls(ADMIN_USER).key.parent.rename(runner.pki.path / ADMIN_USER)
        runner.opening.write_bytes(opening)
        for service in self._parties:
            token = runner.token(service.party)
            token.parent.mkdir(exist_ok=True)
            token.write_text(f"{request.token()}\n", "ascii")
        lines = toml_lines(msgspec.to_builtins(self._description()))
        runner.description.write_text("\n".join(lines) + "\n", "utf-8")

    def _description(self) -> NetworkDescription:
        return NetworkDescription(
            ATTACHED_FORMAT_VERSION,
            story_digest(self._request.scenario),
            self._request.seed,
            f"amqps://{BROKER_SERVICE}:{BROKER_PORT}/{VIRTUAL_HOST}",
            {
                service.party: AttachedParty(
                    str(TlsAddress(service.name, CONTROL_PORT)), f"{DATA_AT}/{service.party}"
                )
                for service in self._parties
            },
        )


def party_settings(request: ComposeRequest, party: str) -> dict[str, Any]:
    """Return what a party's process is told; its own files lie beside the settings."""
    settings: dict[str, Any] = {
        "format_version": SETTINGS_FORMAT_VERSION,
        "party": party,
        "seed": request.seed,
        "begins": instant_to_text(request.plan.begins),
        "store": f"{DATA_AT}/{STORE_FILE}",
        "keys": {
            "signing_key": "signing.key",
            "signing_certificate": "signing.pem",
            "tls_key": "tls.key",
            "tls_certificate": "tls.pem",
        },
        "trust": {
            "root": "root.pem",
            "authority": "authority.pem",
            "opening": "opening.msgpack",
        },
        "control": {
            "certificate": _CONTROL_CERTIFICATE,
            "key": _CONTROL_KEY,
            "token": _SHARED_WITH_RUNNER,
        },
        "log": {"file": f"{DATA_AT}/{LOG_FILE}"},
    }
    scenario = request.scenario
    if party == SECRETARIAT:
        settings |= {"matching_key": _MATCHING_KEY, "refugees": _REFUGEES}
        settings["review"] = msgspec.to_builtins(scenario.review)
        return settings
    settings["policy"] = msgspec.to_builtins(scenario.policy_of(party))
    if party in scenario.profiles:
        settings |= {"profile": scenario.profiles[party], "ledger": f"{DATA_AT}/{LEDGER_FILE}"}
    return settings


def broker_configuration() -> str:
    """Return rabbitmq.conf: one TLS listener, login by the certificate's common name alone."""
    folder = "/etc/rabbitmq"
    settings: Mapping[str, object] = {
        "listeners.tcp": "none",
        "listeners.ssl.1": BROKER_PORT,
        "ssl_options.cacertfile": f"{folder}/root.pem",
        "ssl_options.certfile": f"{folder}/tls.pem",
        "ssl_options.keyfile": f"{folder}/tls.key",
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
        "ssl_options.versions.1": "tlsv1.3",
        "ssl_options.versions.2": "tlsv1.2",
        "ssl_cert_login_from": "common_name",
        "auth_mechanisms.1": "EXTERNAL",
        "handshake_timeout": handshake_milliseconds_max,
        "ssl_handshake_timeout": handshake_milliseconds_max,
        "load_definitions": f"{folder}/definitions.json",
        "log.file": "false",
        "log.console": "true",
        "log.console.level": "info",
        "log.queue.level": "warning",
        "log.ra.level": "warning",
        "raft.wal_max_size_bytes": wal_bytes_max,
        "vm_memory_high_watermark.absolute": broker_memory_bytes_max,
    }
    return "".join(f"{key} = {value}\n" for key, value in settings.items())


def _hand_over(folder: Path, owner: Owner) -> None:
    """Make everything the owner's alone; give it away only where it is another's."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(_PRIVATE_FOLDER if path.is_dir() else _PRIVATE_FILE)
        status = path.stat()
        if (status.st_uid, status.st_gid) != (owner.uid, owner.gid):
            os.chown(path, owner.uid, owner.gid)
