"""A run's folder: where results, history and stores are written, and read again to verify."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bus.errors import BadInput, StoreUnreadable
from bus.instants import Instant
from simulation.evidence.store_copies import StoreCopy, copy_store
from simulation.profiles.ledger import Deviation
from simulation.scenario import Scenario
from simulation.story import IssuedVersion

FORMAT_VERSION: Final = 1
RUNS_FOLDER: Final = Path("runs")
_RUN_FILE: Final = "run.json"
_STORE_SUFFIX: Final = ".sqlite"


class RunRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """What must be known of a run to judge its stores again."""

    format_version: int
    scenario: Scenario
    seed: str
    bus: str
    versions: Sequence[IssuedVersion]
    ended_at: Instant
    wall_seconds: float
    deviations: Sequence[Deviation]
    """What hostile bureaus confessed; for the verdict alone."""


class RunFolder:
    """One folder under ``runs/``, or where the caller wants it; never over an older one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, name: str, out: Path | None) -> "RunFolder":
        """Make a new folder; raise `BadInput` where `out` holds something already."""
        if out is not None:
            if out.exists() and any(out.iterdir()):
                message = f"--out {out} is not empty; an older run is never written over"
                raise BadInput(message)
            out.mkdir(parents=True, exist_ok=True)
            return cls(out)
        number = 1
        while True:
            path = RUNS_FOLDER / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return cls(path)

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """Return a folder that a run wrote; raise `BadInput` for any other."""
        if not (path / "results.json").is_file():
            message = f"{path} is no run folder: it has no results.json"
            raise BadInput(message)
        return cls(path)

    def write_results(self, content: Mapping[str, Any]) -> None:
        """Write results.json."""
        self._write("results.json", msgspec.json.format(msgspec.json.encode(content)) + b"\n")

    def write_logs(self, logs: Mapping[str, bytes]) -> None:
        """Write what parties logged, each in a file of its own."""
        if logs:
            (self.path / "logs").mkdir(exist_ok=True)
        for name, content in logs.items():
            self._write(f"logs/{name}", content)

    def write_history(self, lines: Iterable[bytes]) -> None:
        """Write history.jsonl."""
        with (self.path / "history.jsonl").open("wb") as file:
            file.writelines(lines)

    def write_evidence(
        self,
        record: RunRecord,
        stores: Mapping[str, StoreCopy],
        root_der: bytes,
        certificates: Mapping[str, bytes],
    ) -> None:
        """Write stores, certificates and what is needed to judge them again."""
        self._write(_RUN_FILE, msgspec.json.encode(record))
        for folder in ("stores", "trust"):
            (self.path / folder).mkdir(exist_ok=True)
        for party, store in stores.items():
            self._write(f"stores/{party}{_STORE_SUFFIX}", store.image)
            if store.wal:
                self._write(f"stores/{party}{_STORE_SUFFIX}-wal", store.wal)
        self._write("trust/root.der", root_der)
        for party, certificate in certificates.items():
            self._write(f"trust/{party}.der", certificate)

    def read_record(self) -> RunRecord:
        """Return what `write_evidence` wrote; raise `BadInput` where it was not kept."""
        path = self.path / _RUN_FILE
        if not path.is_file():
            message = f"{self.path} holds no stores: the run was made without --keep all"
            raise BadInput(message)
        try:
            record = msgspec.json.decode(path.read_bytes(), type=RunRecord)
        except msgspec.DecodeError as error:
            message = f"{path}: {error}"
            raise BadInput(message) from error
        if record.format_version != FORMAT_VERSION:
            message = (
                f"{path} has format version {record.format_version}; this release reads "
                f"{FORMAT_VERSION}"
            )
            raise BadInput(message)
        return record

    def read_stores(self) -> dict[str, StoreCopy]:
        """Return the kept stores; one that cannot be read is left out."""
        stores = {}
        for path in sorted((self.path / "stores").glob(f"*{_STORE_SUFFIX}")):
            try:
                stores[path.name.removesuffix(_STORE_SUFFIX)] = copy_store(path)
            except StoreUnreadable:
                continue
        return stores

    def read_trust(self) -> tuple[bytes, dict[str, bytes]]:
        """Return the root and the certificates by party."""
        trust = self.path / "trust"
        certificates = {path.stem: path.read_bytes() for path in sorted(trust.glob("*.der"))}
        root = certificates.pop("root", None)
        if root is None:
            message = f"{trust} holds no root certificate"
            raise BadInput(message)
        return root, certificates

    def read_results(self) -> dict[str, Any]:
        """Return results.json."""
        content: dict[str, Any] = msgspec.json.decode((self.path / "results.json").read_bytes())
        return content

    def other_files(self) -> dict[str, bytes]:
        """Return every file beside the stores and certificates, for the scan."""
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and path.parent.name not in ("stores", "trust")
        }

    def _write(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)
