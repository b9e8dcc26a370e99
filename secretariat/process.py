"""The process of the General Secretariat: its settings, and what it is composed of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.control.served_party import PartyWork
from bus.errors import BadInput
from bus.identifiers import Role
from bus.participant import Duties
from bus.pki.key_files import load_secret_octets
from bus.process import Program, run
from bus.settings import ProcessSettings
from bus.topology import STRAY_QUEUES
from secretariat.duties import SecretariatConfig, SecretariatDuties
from secretariat.review import ReviewSettings


class SecretariatSettings(ProcessSettings, frozen=True, kw_only=True):
    """What the secretariat's process is told: beside the usual, how it reviews and what it knows.

    `matching_key` names the file with the key under which persons are compared. `refugees` names
    a JSON file: by keyed digest of a person, the states that the person is a refugee from.
    """

    matching_key: Path
    refugees: Path | None = None
    review: ReviewSettings = ReviewSettings()


def _compose(settings: SecretariatSettings) -> tuple[Duties, PartyWork]:
    config = SecretariatConfig(
        settings.review, _refugees(settings.refugees), load_secret_octets(settings.matching_key)
    )
    return SecretariatDuties(config), PartyWork(also_reads=STRAY_QUEUES)


def _refugees(path: Path | None) -> dict[str, list[str]]:
    if path is None:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise BadInput(f"{path}: not states by person: {error}") from error


PROGRAM: Final = Program("secretariat", Role.SECRETARIAT, SecretariatSettings, _compose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the secretariat until it is asked to end; return the exit code."""
    return run(PROGRAM, arguments)
