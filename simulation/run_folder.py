"""A run's folder: where results, history and stores are written, and read again to verify."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bus.errors import BadInput, EnvironmentFailed, StoreUnreadable
from bus.instants import Instant
from simulation.evidence.store_copies import StoreCopy, copy_store
from simulation.profiles.ledger import Deviation
from simulation.scenario import Scenario
from simulation.story import IssuedVersion

FORMAT_VERSION: Final = 1
RUNS_FOLDER: Final = Path("runs")
_RUN_FILE: Final = "run.json"
_STORE_SUFFIX: Final = ".sqlite"
_HISTORY_FILE: Final = "history.jsonl"
_SEED_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
_SEED_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_SEED_SHOWN_CHARACTERS: Final = 24
_SEED_DIGEST_CHARACTERS: Final = 12


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


def check_seed(seed: str) -> None:
    """Raise `BadInput` for a seed that nothing can be drawn from; any other text is one."""
    if not seed:
        message = "--seed is empty; any other text will do"
        raise BadInput(message)
    try:
        seed.encode()
    except UnicodeEncodeError as error:
        message = "--seed is no text in UTF-8"
        raise BadInput(message) from error


def check_out(out: Path | None) -> None:
    """Raise `BadInput` where a run's folder cannot be: something is there already."""
    if out is None:
        return
    try:
        if out.exists() and not out.is_dir():
            message = f"--out {out} is no folder"
            raise BadInput(message)
        if out.exists() and any(out.iterdir()):
            message = f"--out {out} is not empty; an older run is never written over"
            raise BadInput(message)
    except OSError as error:
        message = f"--out {out}: {error.strerror}"
        raise BadInput(message) from error


def folder_name(scenario: str, bus: str, seed: str) -> str:
    """Return the name of a run's folder; a seed unfit for one is shortened, with a digest."""
    if not _SEED_SAFE.match(seed):
        digest = sha256(seed.encode()).hexdigest()[:_SEED_DIGEST_CHARACTERS]
        shown = _SEED_UNSAFE.sub("-", seed)[:_SEED_SHOWN_CHARACTERS].strip("-")
        seed = f"{shown}-{digest}" if shown else digest
    return f"{scenario}-{bus}-{seed}"


@contextmanager
def _foreign_errors(doing: str) -> Iterator[None]:
    """Turn what the file system says into one line for a person."""
    try:
        yield
    except OSError as error:
        message = f"{error.filename or 'run folder'} cannot be {doing}: {error.strerror}"
        raise EnvironmentFailed(message) from error


class RunFolder:
    """One folder under ``runs/``, or where the caller wants it; never over an older one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, name: str, out: Path | None) -> "RunFolder":
        """Make a new folder; raise `BadInput` where `out` holds something already."""
        if out is not None:
            check_out(out)
            with _foreign_errors("made"):
                out.mkdir(parents=True, exist_ok=True)
            return cls(out)
        number = 1
        while True:
            path = RUNS_FOLDER / (name if number == 1 else f"{name}-{number}")
            with _foreign_errors("made"):
                try:
                    RUNS_FOLDER.mkdir(parents=True, exist_ok=True)
                    path.mkdir()
                except FileExistsError:
                    if not path.exists():
                        raise
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
            self._make("logs")
        for name, content in logs.items():
            self._write(f"logs/{name}", content)

    def write_history(self, lines: Iterable[bytes]) -> None:
        """Write history.jsonl."""
        path = self.path / _HISTORY_FILE
        with _foreign_errors("written"), path.open("wb") as file:
            file.writelines(lines)

    def read_history(self) -> bytes | None:
        """Return history.jsonl, or nothing where there is none."""
        path = self.path / _HISTORY_FILE
        with _foreign_errors("read"):
            return path.read_bytes() if path.is_file() else None

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
            self._make(folder)
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
            with _foreign_errors("read"):
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
        with _foreign_errors("read"):
            certificates = {path.stem: path.read_bytes() for path in sorted(trust.glob("*.der"))}
        root = certificates.pop("root", None)
        if root is None:
            message = f"{trust} holds no root certificate"
            raise BadInput(message)
        return root, certificates

    def read_results(self) -> dict[str, Any]:
        """Return results.json; raise `BadInput` for one that is cut short or no results."""
        path = self.path / "results.json"
        try:
            with _foreign_errors("read"):
                content = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"{path}: {error}"
            raise BadInput(message) from error
        if not isinstance(content.get("wall_seconds"), int | float):
            message = f"{path} has no wall_seconds"
            raise BadInput(message)
        return content

    def other_files(self) -> dict[str, bytes]:
        """Return every file beside the stores and certificates, for the scan."""
        with _foreign_errors("read"):
            return {
                str(path.relative_to(self.path)): path.read_bytes()
                for path in sorted(self.path.rglob("*"))
                if path.is_file() and path.parent.name not in ("stores", "trust")
            }

    def _make(self, name: str) -> None:
        with _foreign_errors("made"):
            (self.path / name).mkdir(exist_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        with _foreign_errors("written"):
            (self.path / name).write_bytes(content)
