"""A network's PKI as a folder or in memory: creating it whole, and loading one user's part.

The layout of a PKI folder::

    root.pem  root.key                 the network's root; root.key makes its holder the authority
    broker/tls.pem  broker/tls.key     the broker's TLS identity
    <CODE>/signing.pem  signing.key    what a party signs statements with
    <CODE>/tls.pem  tls.key            what it logs in to the broker with
    ADMIN/tls.pem  tls.key             the administrator's login; ADMIN signs nothing

Private keys are unencrypted PKCS8 PEM that only their owner can read; loading refuses any other
mode, because a key that others can read does not prove who signed.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from bus.errors import BadInput, KeyFileError
from bus.identifiers import AUTHORITY, SECRETARIAT, is_party_code
from bus.instants import DAY, SECOND, Instant
from bus.pki.authority import (
    BROKER_USER,
    Authority,
    SigningIdentity,
    TlsIdentity,
    private_key_pem,
    tls_backdating_days,
    tls_validity_days,
)
from bus.pki.key_files import (
    check_issuer,
    check_pair,
    load_certificate,
    load_ec_key,
    load_ed25519_key,
    write_folder_at_once,
)

ADMIN_USER: Final = "ADMIN"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryPki(Struct, frozen=True):
    """A network's trust without files, for the embedded bus: no TLS, the same signing leaves."""

    authority: Authority
    signing: dict[str, SigningIdentity]
    """By party code."""

    @property
    def root_der(self) -> bytes:
        """The root certificate as DER."""
        return self.authority.root_der


class TlsFiles(Struct, frozen=True):
    """Where one user's TLS identity lies, and the root that it trusts."""

    root: Path
    certificate: Path
    key: Path

    def check(self, wall_now: Instant | None = None) -> None:
        """Raise `KeyFileError` unless the three files belong together and the key is private.

        With `wall_now`, a certificate that is not valid at that wall time is refused too.
        """
        key = load_ec_key(self.key)
        certificate = load_certificate(self.certificate)
        check_pair(self.key, key, self.certificate, certificate)
        check_issuer(self.certificate, certificate, self.root)
        if wall_now is None:
            return
        moment = _EPOCH + timedelta(milliseconds=wall_now)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= moment <= end:
            raise KeyFileError(
                f"{self.certificate}: valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d} only; "
                "make a new PKI with 'i247 pki init'"
            )


class PkiFolder(Struct, frozen=True):
    """Names the files of a PKI folder; opens none of them."""

    path: Path

    @property
    def root(self) -> Path:
        """The root certificate, PEM."""
        return self.path / "root.pem"

    @property
    def root_key(self) -> Path:
        """The root's private key."""
        return self.path / "root.key"

    @property
    def broker_tls(self) -> TlsFiles:
        """The broker's own TLS files."""
        return self.tls(BROKER_USER)

    def signing_certificate(self, party: str) -> Path:
        """The party's signing leaf, PEM."""
        return self.path / party / "signing.pem"

    def signing_key(self, party: str) -> Path:
        """The party's Ed25519 private key."""
        return self.path / party / "signing.key"

    def tls(self, user: str) -> TlsFiles:
        """The TLS files of a party, of `ADMIN_USER` or of `BROKER_USER`."""
        return TlsFiles(self.root, self.path / user / "tls.pem", self.path / user / "tls.key")


def create_memory_pki(
    parties: Iterable[str], *, simulated_not_before: Instant, simulated_not_after: Instant
) -> MemoryPki:
    """Make a root and a signing identity for each party, the secretariat and the authority.

    Raises `BadInput` for a text that is no party code, or a validity that ends before it begins.
    """
    codes = _all_parties(parties)
    _check_order(simulated_not_before, simulated_not_after)
    authority = Authority.create(simulated_not_before, simulated_not_after)
    return _issue_signing(authority, codes, simulated_not_before, simulated_not_after)


def create_pki(
    folder: Path,
    parties: Iterable[str],
    *,
    simulated_not_before: Instant,
    simulated_not_after: Instant,
    wall_now: Instant,
    broker_dns_names: Sequence[str] = (),
) -> PkiFolder:
    """Write a new PKI: everything or, after a crash or an error, nothing.

    Signing leaves are valid in simulated time, TLS leaves around `wall_now`; the root covers both.
    Raises `BadInput` when something is at `folder` already or nothing can be written there, for a
    text that is no party code, a bad host name, or a validity that ends before it begins.
    """
    codes = _all_parties(parties)
    _check_order(simulated_not_before, simulated_not_after)
    authority = Authority.create(
        min(simulated_not_before, wall_now - tls_backdating_days * DAY),
        max(simulated_not_after, wall_now + tls_validity_days * DAY),
    )
    try:
        tls = [authority.issue_broker_tls(wall_now, broker_dns_names)]
    except ValueError as error:
        raise BadInput(f"names of the broker: {error}") from None
    tls += [authority.issue_client_tls(user, wall_now) for user in (*codes, ADMIN_USER)]
    pki = _issue_signing(authority, codes, simulated_not_before, simulated_not_after)
    write_folder_at_once(folder, _contents(pki, tls))
    return PkiFolder(folder)


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Load a party's signing key; raise `KeyFileError` with one line where it may not be used."""
    return load_ed25519_key(path)


def load_certificate_der(path: Path) -> bytes:
    """Return the DER of the certificate in a PEM or DER file; raise `KeyFileError` if none."""
    return load_certificate(path).public_bytes(Encoding.DER)


def load_signing_identity(folder: PkiFolder, party: str) -> SigningIdentity:
    """Load a party's signing key with its leaf; raise `KeyFileError` unless they match."""
    key_path, path = folder.signing_key(party), folder.signing_certificate(party)
    key, certificate = load_ed25519_key(key_path), load_certificate(path)
    check_pair(key_path, key, path, certificate)
    return SigningIdentity(party, key, certificate.public_bytes(Encoding.DER))


def load_authority(folder: PkiFolder) -> Authority:
    """Load the root with its key, to issue more leaves; raise `KeyFileError` if that fails."""
    key, certificate = load_ec_key(folder.root_key), load_certificate(folder.root)
    check_pair(folder.root_key, key, folder.root, certificate)
    return Authority(key, certificate)


def _all_parties(parties: Iterable[str]) -> list[str]:
    codes = sorted({*parties, SECRETARIAT, AUTHORITY})
    for code in codes:
        if not is_party_code(code):
            raise BadInput(f"not a party code: {code!r} (two capital letters, IPSG, CCF or AUTH)")
    return codes


def _check_order(not_before: Instant, not_after: Instant) -> None:
    if not_before // SECOND >= not_after // SECOND:
        raise BadInput("certificates would end before they begin: give a later end")


def _issue_signing(
    authority: Authority, codes: list[str], not_before: Instant, not_after: Instant
) -> MemoryPki:
    signing = {code: authority.issue_signing(code, not_before, not_after) for code in codes}
    return MemoryPki(authority, signing)


def _contents(pki: MemoryPki, tls: list[TlsIdentity]) -> dict[str, bytes]:
    files = {"root.pem": pki.authority.root_pem, "root.key": pki.authority.key_pem}
    for party, identity in pki.signing.items():
        certificate = x509.load_der_x509_certificate(identity.certificate_der)
        files[f"{party}/signing.pem"] = certificate.public_bytes(Encoding.PEM)
        files[f"{party}/signing.key"] = private_key_pem(identity.private_key)
    for leaf in tls:
        files[f"{leaf.user}/tls.pem"] = leaf.certificate_pem
        files[f"{leaf.user}/tls.key"] = leaf.key_pem
    return files
