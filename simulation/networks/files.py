"""What a run over RabbitMQ lays out on disk for its processes: keys, trust, settings, and stores.

Everything lies in one folder that only its owner can enter and that goes with the run.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bus.control.wire import UnixAddress
from bus.errors import EnvironmentFailed
from bus.identifiers import AUTHORITY, SECRETARIAT
from bus.instants import Instant, instant_to_text
from bus.pki.keystore import (
    PkiFolder,
    create_pki,
    load_certificate_der,
    load_signing_identity,
)
from bus.settings import FORMAT_VERSION
from simulation.cast import Trust, opening_trust, signer_of, validity
from simulation.evidence.store_copies import StoreCopy, copy_store
from simulation.plan import Plan
from simulation.profiles import Deviation
from simulation.profiles.ledger import read_ledger
from simulation.scenario import Scenario

socket_path_characters_max: Final = 100
"""The system takes a few more, and not the same number everywhere."""
_PRIVATE_FOLDER: Final = 0o700


class NetworkFiles(Struct, frozen=True):
    """Where one run keeps what; `pki` lies elsewhere when the broker is not our own."""

    folder: Path
    pki: PkiFolder

    @property
    def broker(self) -> Path:
        """The private broker's own folder."""
        return self.folder / "broker"

    @property
    def logs(self) -> Path:
        """What processes log and write to standard error."""
        return self.folder / "logs"

    def socket(self, party: str) -> UnixAddress:
        """A party's control port."""
        return UnixAddress(str(self.folder / "control" / f"{party}.sock"))

    def settings(self, party: str) -> Path:
        """A party's settings file."""
        return self.folder / "settings" / f"{party}.toml"

    def store(self, party: str) -> Path:
        """A party's database."""
        return self.folder / "stores" / f"{party}.sqlite"

    def ledger(self, party: str) -> Path:
        """Where a member with a profile confesses."""
        return self.folder / "ledgers" / f"{party}.jsonl"

    def console(self, party: str) -> Path:
        """What a party's process wrote to standard error."""
        return self.logs / f"{party}.console"

    def store_copies(self, parties: list[str]) -> dict[str, StoreCopy]:
        """Copy stores with their write-ahead logs; raise `StoreUnreadable`."""
        return {party: copy_store(self.store(party)) for party in parties}

    def log_contents(self) -> dict[str, bytes]:
        """Return what was logged until now, by file name."""
        return {path.name: path.read_bytes() for path in sorted(self.logs.glob("*"))}

    def deviations(self) -> set[Deviation]:
        """Return what members with a profile have confessed until now."""
        ledgers = (self.folder / "ledgers").glob("*.jsonl")
        return {deed for path in sorted(ledgers) for deed in read_ledger(path)}


def lay_out(
    folder: Path, scenario: Scenario, plan: Plan, wall_now: Instant, pki: PkiFolder | None
) -> NetworkFiles:
    """Make the folders of a run and, unless a PKI is handed in, fresh keys.

    Raises `EnvironmentFailed` when the folder's path is too long for sockets in it, and what
    `create_pki` raises.
    """
    not_before, not_after = validity(scenario, plan)
    files = NetworkFiles(folder, pki or PkiFolder(folder / "pki"))
    if len(files.socket(SECRETARIAT).path) > socket_path_characters_max:
        raise EnvironmentFailed(
            f"{folder}: too long a path for control ports in it; set TMPDIR to a shorter one"
        )
    for name in ("control", "settings", "stores", "logs", "ledgers", "trust"):
        (folder / name).mkdir(mode=_PRIVATE_FOLDER)
    if pki is None:
        create_pki(
            files.pki.path,
            scenario.members,
            simulated_not_before=not_before,
            simulated_not_after=not_after,
            wall_now=wall_now,
        )
    return files


def write_trust(files: NetworkFiles, scenario: Scenario, plan: Plan, seed: str) -> Trust:
    """Have the authority make its opening statements, and write them; raise `KeyFileError`."""
    pki = files.pki
    authority = load_signing_identity(pki, AUTHORITY)
    parties = (*scenario.members, SECRETARIAT, AUTHORITY)
    certificates = {
        party: load_certificate_der(pki.signing_certificate(party)) for party in parties
    }
    trust = opening_trust(
        scenario,
        plan,
        seed,
        load_certificate_der(pki.root),
        certificates,
        signer_of(AUTHORITY, authority.private_key),
    )
    _opening(files).write_bytes(msgspec.msgpack.encode(list(trust.opening)))
    return trust


def write_settings(files: NetworkFiles, scenario: Scenario, plan: Plan, seed: str) -> None:
    """Write the settings of every party, and the files that they name."""
    matching_key = files.folder / "trust" / "matching.key"
    with os.fdopen(os.open(matching_key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(plan.matching_key)
    refugees = files.folder / "trust" / "refugees.json"
    refugees.write_bytes(msgspec.json.encode(plan.refugees))
    for party in (SECRETARIAT, *scenario.members):
        settings = _common(files, plan, seed, party)
        if party == SECRETARIAT:
            settings["matching_key"] = str(matching_key)
            settings["refugees"] = str(refugees)
            settings["review"] = msgspec.to_builtins(scenario.review)
        else:
            settings["policy"] = msgspec.to_builtins(scenario.policy_of(party))
            if party in scenario.profiles:
                settings["profile"] = scenario.profiles[party]
                settings["ledger"] = str(files.ledger(party))
        files.settings(party).write_text("\n".join(toml_lines(settings)) + "\n", "utf-8")


def toml_lines(table: Mapping[str, Any], outer: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield a table as lines of TOML: its values first, then its tables."""
    for key, value in table.items():
        if not isinstance(value, Mapping):
            # Texts, numbers, truth values and lists of them look in TOML as they do in JSON.
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield f"[{'.'.join((*outer, key))}]"
            yield from toml_lines(value, (*outer, key))


def _common(files: NetworkFiles, plan: Plan, seed: str, party: str) -> dict[str, Any]:
    pki = files.pki
    tls = pki.tls(party)
    return {
        "format_version": FORMAT_VERSION,
        "party": party,
        "seed": seed,
        "begins": instant_to_text(plan.begins),
        "store": str(files.store(party)),
        "keys": {
            "signing_key": str(pki.signing_key(party)),
            "signing_certificate": str(pki.signing_certificate(party)),
            "tls_key": str(tls.key),
            "tls_certificate": str(tls.certificate),
        },
        "trust": {
            "root": str(pki.root),
            "authority": str(pki.signing_certificate(AUTHORITY)),
            "opening": str(_opening(files)),
        },
        "log": {"file": str(files.logs / f"{party}.jsonl")},
    }


def _opening(files: NetworkFiles) -> Path:
    return files.folder / "trust" / "opening.msgpack"
