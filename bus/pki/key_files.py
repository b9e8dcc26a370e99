"""Single key and certificate files: read with suspicion, written private and all at once.

Everything that goes wrong becomes a `KeyFileError` or `BadInput` whose one line names the file and
the mend; no exception of a parser gets out of here.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from bus.errors import BadInput, KeyFileError
from bus.pki.certificates import CertificateRefused, certificate_der

key_file_bytes_max: Final = 65_536
_FOLDER_MODE: Final = 0o700
_KEY_MODE: Final = 0o600
_CERTIFICATE_MODE: Final = 0o644
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

CertifiedKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def load_ed25519_key(path: Path) -> Ed25519PrivateKey:
    """Load a private signing key; raise `KeyFileError` where it may not be used."""
    key = _load_private_key(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: not an Ed25519 key; signing needs one, give a signing.key")
    return key


def load_ec_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Load a private TLS or root key; raise `KeyFileError` where it may not be used."""
    key = _load_private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{path}: not an EC key; give the tls.key or root.key of the PKI")
    return key


def load_secret_octets(path: Path) -> bytes:
    """Load a secret that is no key pair; raise `KeyFileError` where it may not be used."""
    secret = _read(path, private=True)
    if not secret:
        raise KeyFileError(f"{path}: empty; give a file with a secret in it")
    return secret


def load_secret(path: Path) -> str:
    """Load a secret that is one line of text; raise `KeyFileError` where it may not be used."""
    try:
        return load_secret_octets(path).decode("ascii").strip()
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: not plain text; give a file with a token in it") from None


def load_certificate(path: Path) -> x509.Certificate:
    """Load the one certificate of a PEM or DER file; raise `KeyFileError` if there is none."""
    try:
        der = certificate_der(_read(path, private=False))
    except CertificateRefused as refused:
        raise KeyFileError(f"{path}: {refused}; give a certificate file of the PKI") from None
    return x509.load_der_x509_certificate(der)


def check_pair(key_path: Path, key: CertifiedKey, path: Path, leaf: x509.Certificate) -> None:
    """Raise `KeyFileError` unless the certificate certifies this very key."""
    own = public_key_info(key)
    try:
        certified = leaf.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: its public key cannot be read; issue it anew") from None
    if own != certified:
        raise KeyFileError(f"{key_path}: not the key of {path}; give two files of one folder")


def check_issuer(path: Path, leaf: x509.Certificate, root_path: Path) -> None:
    """Raise `KeyFileError` unless the root in `root_path` issued the certificate."""
    root = load_certificate(root_path)
    try:
        leaf.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: not issued by {root_path}; give files of one PKI") from None


def public_key_info(key: CertifiedKey) -> bytes:
    """Return the DER of the SubjectPublicKeyInfo that belongs to a private key."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def write_folder_at_once(folder: Path, files: dict[str, bytes]) -> None:
    """Write a folder of files by relative name: all of them or, after a crash, none.

    Files named ``*.key`` get mode 0600, folders 0700. Raises `BadInput` when something is there
    already or the place cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"{folder}: something is there already; keys are never overwritten")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for name, content in files.items():
                _write_new(partial / name, content)
            if folder.is_dir():
                folder.rmdir()
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot write keys there: {error.strerror}") from error


def _write_new(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    mode = _KEY_MODE if path.suffix == ".key" else _CERTIFICATE_MODE
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _load_private_key(path: Path) -> PrivateKeyTypes:
    content = _read(path, private=True)
    try:
        return serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(
            f"{path}: not an unencrypted PEM private key; give a .key file"
        ) from None


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(key_file_bytes_max + 1)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: no such file; make one with 'i247 pki init'") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read ({error.strerror}); give a key file") from None
    # Windows has no such mode bits; there the folder's access list protects the key.
    if private and os.name == "posix" and mode & _OPEN_TO_OTHERS:
        raise KeyFileError(f"{path}: other users have access to this key; run 'chmod 600 {path}'")
    if len(content) > key_file_bytes_max:
        raise KeyFileError(f"{path}: larger than {key_file_bytes_max} bytes; give a key file")
    return content
