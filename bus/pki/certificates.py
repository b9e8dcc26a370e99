"""Reading and verifying signing leaves: DER in, a `SigningCertificate` or `CertificateRefused` out.

Pure. Whether a leaf is valid *at a time* or revoked is for the key registry to decide; here only
what the bytes themselves prove is checked, so the answer can be cached for as long as we like.

`verify_leaf` takes these steps, cheap ones first:

1. size and DER form (stops resource exhaustion by a giant certificate);
2. subject: one party code and the one role that this code can hold (stops a member's certificate
   that calls itself the secretariat);
3. key: Ed25519 (stops a change of algorithm, and a TLS leaf used for signing);
4. use: not a CA, digital signatures allowed, no critical extension that we do not understand;
5. issuer: the name and the signature of the given root (stops a foreign root).
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID, NameOID
from msgspec import Struct

from bus.identifiers import Role, is_party_code, role_of
from bus.instants import Instant

certificate_bytes_max: Final = 4_096
_PEM_MARK: Final = b"-----BEGIN CERTIFICATE-----"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNDERSTOOD: Final = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})
# A warning is among them for processes that turn warnings into errors.
_PARSER_ERRORS: Final = (
    CryptographyDeprecationWarning,
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class CertificateRefused(ValueError):
    """A certificate proves nothing to us; the text says why in one line."""


class SigningCertificate(Struct, frozen=True):
    """What one signing leaf says: this key may speak for this party between these instants."""

    party: str
    role: Role
    key_id: str
    """Lower-case hex SHA-256 of the DER of the SubjectPublicKeyInfo."""
    public_key_raw: bytes
    """The 32 raw bytes of the Ed25519 public key."""
    not_before: Instant
    not_after: Instant
    """Last instant of validity, inclusive, as X.509 has it; whole seconds."""
    der: bytes


def key_id_of(public_key: Ed25519PublicKey) -> str:
    """Return the key identifier: lower-case hex SHA-256 of the key's SubjectPublicKeyInfo DER."""
    return sha256(
        public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).hexdigest()


def certificate_der(data: bytes) -> bytes:
    """Return the DER of the one certificate in `data`, which is PEM or already DER.

    Raises `CertificateRefused` when there is none.
    """
    return _load(data).public_bytes(serialization.Encoding.DER)


def parse_signing_leaf(data: bytes) -> SigningCertificate:
    """Read a DER or PEM signing leaf without asking who issued it: trust nothing it says yet.

    Raises `CertificateRefused` when its form is not that of a signing leaf.
    """
    return _parse(_load(data))


@lru_cache(maxsize=4_096)
def verify_leaf(der: bytes, root_der: bytes) -> SigningCertificate:
    """Return what a signing leaf says once it is proven that the root issued it.

    Raises `CertificateRefused` with one line. Validity in time is not judged here.
    """
    leaf = _load(der)
    parsed = _parse(leaf)
    root = _load_root(root_der)
    try:
        leaf.verify_directly_issued_by(root)  # 5
    except InvalidSignature:
        raise CertificateRefused(
            f"certificate of {parsed.party}: the root's signature does not verify"
        ) from None
    except _PARSER_ERRORS:
        raise CertificateRefused(
            f"certificate of {parsed.party} was not issued by this network's root"
        ) from None
    return parsed


@lru_cache(maxsize=64)
def _load_root(root_der: bytes) -> x509.Certificate:
    root = _load(root_der)
    if not _is_ca(root):
        raise CertificateRefused("the root certificate is not a certificate authority's")
    return root


def _load(data: bytes) -> x509.Certificate:
    if len(data) > certificate_bytes_max:  # 1
        raise CertificateRefused(f"certificate is larger than {certificate_bytes_max} bytes")
    try:
        if _PEM_MARK in data:
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except _PARSER_ERRORS:
        raise CertificateRefused("not an X.509 certificate") from None


def _parse(leaf: x509.Certificate) -> SigningCertificate:
    party, role = _subject(leaf)  # 2
    try:
        public_key = leaf.public_key()  # 3
    except _PARSER_ERRORS:
        raise CertificateRefused(f"certificate of {party}: its key cannot be read") from None
    if not isinstance(public_key, Ed25519PublicKey):
        raise CertificateRefused(f"certificate of {party}: its key is not Ed25519")
    _check_use(leaf, party)  # 4
    return SigningCertificate(
        party=party,
        role=role,
        key_id=key_id_of(public_key),
        public_key_raw=public_key.public_bytes_raw(),
        not_before=_instant(leaf.not_valid_before_utc),
        not_after=_instant(leaf.not_valid_after_utc),
        der=leaf.public_bytes(serialization.Encoding.DER),
    )


def _subject(leaf: x509.Certificate) -> tuple[str, Role]:
    party = _one_attribute(leaf, NameOID.COMMON_NAME, "CN")
    if not is_party_code(party):
        raise CertificateRefused(f"certificate's CN is not a party code: {party[:64]!r}")
    role = _one_attribute(leaf, NameOID.ORGANIZATIONAL_UNIT_NAME, "OU")
    if role != role_of(party).value:
        raise CertificateRefused(
            f"certificate of {party}: OU {role[:64]!r} is not its role {role_of(party).value!r}"
        )
    return party, role_of(party)


def _one_attribute(leaf: x509.Certificate, oid: x509.ObjectIdentifier, name: str) -> str:
    try:
        values = [attribute.value for attribute in leaf.subject.get_attributes_for_oid(oid)]
    except _PARSER_ERRORS:
        raise CertificateRefused("certificate's subject cannot be read") from None
    if len(values) != 1 or not isinstance(values[0], str):
        raise CertificateRefused(f"certificate needs exactly one {name} in its subject")
    return values[0]


def _check_use(leaf: x509.Certificate, party: str) -> None:
    if _is_ca(leaf):
        raise CertificateRefused(f"certificate of {party} is a CA's, not a leaf")
    may_sign = False
    for extension in _extensions(leaf):
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise CertificateRefused(
                f"certificate of {party}: unknown critical extension {extension.oid.dotted_string}"
            )
        if isinstance(extension.value, x509.KeyUsage):
            may_sign = extension.value.digital_signature
    if not may_sign:
        raise CertificateRefused(f"certificate of {party}: it is not meant for signatures")


def _is_ca(certificate: x509.Certificate) -> bool:
    return any(
        isinstance(extension.value, x509.BasicConstraints) and extension.value.ca
        for extension in _extensions(certificate)
    )


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except _PARSER_ERRORS:
        raise CertificateRefused("certificate's extensions cannot be read") from None


def _instant(moment: datetime) -> Instant:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
