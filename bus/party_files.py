"""What a party's settings name, opened: its keys, trust and store, and its control port's token."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bus.control.server import ServerAccess
from bus.errors import BadInput, KeyFileError
from bus.identifiers import AUTHORITY, IdentifierSource
from bus.instants import Instant
from bus.participant import Duties, Identity, Participant
from bus.pki.certificates import CertificateRefused, SigningCertificate, key_id_of, verify_leaf
from bus.pki.key_files import load_secret
from bus.pki.keystore import TlsFiles, load_certificate_der, load_signing_key
from bus.registry import first_registry
from bus.settings import ProcessSettings
from bus.statements import Signer

_FOLDER_MODE: Final = 0o700
_OPENING: Final = msgspec.msgpack.Decoder(list[bytes])


def server_access(settings: ProcessSettings) -> ServerAccess | None:
    """Return what a TLS control port needs, or None where the settings name no files for one.

    Raises `KeyFileError` for a token that others can read.
    """
    control = settings.control
    if control.certificate is None or control.key is None or control.token is None:
        return None
    return ServerAccess(control.certificate, control.key, load_secret(control.token))


def tls_files(settings: ProcessSettings, wall_now: Instant) -> TlsFiles:
    """Return where a party's TLS identity lies; raise `KeyFileError` where it may not be used."""
    keys = settings.keys
    tls = TlsFiles(settings.trust.root, keys.tls_certificate, keys.tls_key)
    tls.check(wall_now)
    return tls


def open_participant(
    settings: ProcessSettings,
    duties: Duties,
    now: Instant,
    wall_ns: Callable[[], int],
    seed_if_none: str,
) -> Participant:
    """Return a party over its store; a store that is new takes up the opening statements first.

    Raises `KeyFileError`, `BadInput` for other files that are unusable, `StoreUnreadable`, and
    `EnvironmentFailed` when the opening statements leave the party out.
    """
    trust = settings.trust
    root_der = load_certificate_der(trust.root)
    authority = _verified(trust.authority, root_der, AUTHORITY)
    identity = Identity(
        _signer(settings, root_der),
        root_der,
        first_registry(authority),
        IdentifierSource(settings.seed or seed_if_none, settings.party),
    )
    opening = _opening(trust.opening)
    try:
        settings.store.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{settings.store}: cannot be made: {error.strerror}") from error
    participant = Participant(identity, duties, wall_ns, settings.store)
    if not participant.registry.members:
        participant.bootstrap(opening, now)
    return participant


def _signer(settings: ProcessSettings, root_der: bytes) -> Signer:
    keys = settings.keys
    key = load_signing_key(keys.signing_key)
    leaf = _verified(keys.signing_certificate, root_der, settings.party)
    if leaf.key_id != key_id_of(key.public_key()):
        raise KeyFileError(
            f"{keys.signing_key}: not the key of {keys.signing_certificate}; give two files of "
            "one folder"
        )
    return Signer(settings.party, leaf.key_id, key)


def _verified(path: Path, root_der: bytes, party: str) -> SigningCertificate:
    try:
        leaf = verify_leaf(load_certificate_der(path), root_der)
    except CertificateRefused as refused:
        raise KeyFileError(f"{path}: {refused}") from None
    if leaf.party != party:
        raise KeyFileError(f"{path}: the certificate of {leaf.party}, not of {party}")
    return leaf


def _opening(path: Path) -> list[bytes]:
    try:
        return _OPENING.decode(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError:
        raise BadInput(f"{path}: holds no opening statements") from None
