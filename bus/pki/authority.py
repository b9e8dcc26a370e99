"""The simulation's own certificate authority: one root, signing leaves and TLS leaves.

A real network's authority keeps its key offline and knows its members; this one makes up both and
exists for simulations only. Signing leaves (Ed25519) live in *simulated* time, because nodes check
them against the simulated clock. TLS leaves (ECDSA P-256) live in *wall* time, because the TLS
libraries check them against the machine's. Signing and TLS keys are never the same.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from bus.identifiers import is_party_code, role_of
from bus.instants import DAY, Instant

ORGANISATION: Final = "I-24/7 simulation (fictional)"
ROOT_NAME: Final = "I-24/7 simulation root"
BROKER_USER: Final = "broker"
tls_backdating_days: Final = 1
tls_validity_days: Final = 30
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOST_NAME: Final = re.compile(r"^(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\Z")
_EKU: Final = ExtendedKeyUsageOID


class SigningIdentity(Struct, frozen=True):
    """A party's private signing key and the DER of the leaf that certifies it."""

    party: str
    private_key: Ed25519PrivateKey
    certificate_der: bytes


class TlsIdentity(Struct, frozen=True):
    """A user's private TLS key and its leaf, both as PEM."""

    user: str
    key_pem: bytes
    certificate_pem: bytes


class Authority:
    """The root key with its certificate; issues leaves. Every key is fresh and random."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(cls, not_before: Instant, not_after: Instant) -> Self:
        """Make a new self-signed root, valid between two instants.

        OpenSSL and TLS libraries check the root's validity too, so it has to cover the wall time
        of every TLS leaf and the simulated time of every signing leaf.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
                x509.NameAttribute(NameOID.COMMON_NAME, ROOT_NAME),
            ]
        )
        builder = _builder(name, name, key.public_key(), not_before, not_after)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def root_der(self) -> bytes:
        """The root certificate as DER."""
        return self._certificate.public_bytes(serialization.Encoding.DER)

    @property
    def root_pem(self) -> bytes:
        """The root certificate as PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The root's private key as unencrypted PKCS8 PEM: whoever has it is the authority."""
        return private_key_pem(self._key)

    def certify_signing_key(
        self, party: str, public_key: Ed25519PublicKey, not_before: Instant, not_after: Instant
    ) -> bytes:
        """Return the DER of a signing leaf for `party`, valid in simulated time.

        X.509 counts in seconds; milliseconds are dropped. Raises `ValueError` when `party` is not
        a party code.
        """
        if not is_party_code(party):
            raise ValueError(f"not a party code: {party!r}")
        builder = self._leaf_builder(party, role_of(party).value, public_key, not_before, not_after)
        return self._sign(builder).public_bytes(serialization.Encoding.DER)

    def issue_signing(self, party: str, not_before: Instant, not_after: Instant) -> SigningIdentity:
        """Make a signing key for `party` and certify it; see `certify_signing_key`."""
        key = Ed25519PrivateKey.generate()
        der = self.certify_signing_key(party, key.public_key(), not_before, not_after)
        return SigningIdentity(party, key, der)

    def issue_client_tls(self, user: str, wall_now: Instant) -> TlsIdentity:
        """Make a TLS client key whose certificate's CN is the broker user it logs in as."""
        return self._issue_tls(user, wall_now, _EKU.CLIENT_AUTH, None)

    def issue_broker_tls(self, wall_now: Instant, extra_names: Sequence[str] = ()) -> TlsIdentity:
        """Make the broker's TLS key; valid for localhost, 127.0.0.1 and the extra host names.

        Raises `ValueError` for a name that is neither an IP address nor an ASCII host name.
        """
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        names += [_general_name(name) for name in extra_names]
        alternatives = x509.SubjectAlternativeName(list(dict.fromkeys(names)))
        return self._issue_tls(BROKER_USER, wall_now, _EKU.SERVER_AUTH, alternatives)

    def _issue_tls(
        self,
        user: str,
        wall_now: Instant,
        purpose: x509.ObjectIdentifier,
        alternatives: x509.SubjectAlternativeName | None,
    ) -> TlsIdentity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._leaf_builder(
            user,
            None,
            key.public_key(),
            wall_now - tls_backdating_days * DAY,
            wall_now + tls_validity_days * DAY,
        ).add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        certificate = self._sign(builder)
        return TlsIdentity(
            user, private_key_pem(key), certificate.public_bytes(serialization.Encoding.PEM)
        )

    def _leaf_builder(
        self,
        common_name: str,
        unit: str | None,
        public_key: Ed25519PublicKey | ec.EllipticCurvePublicKey,
        not_before: Instant,
        not_after: Instant,
    ) -> x509.CertificateBuilder:
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION)]
        if unit is not None:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        issuer = self._certificate.subject
        builder = _builder(x509.Name(attributes), issuer, public_key, not_before, not_after)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(authority, critical=False)

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def private_key_pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: Ed25519PublicKey | ec.EllipticCurvePublicKey,
    not_before: Instant,
    not_after: Instant,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(not_before))
        .not_valid_after(_moment(not_after))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        if not _HOST_NAME.match(name):
            raise ValueError(f"not a host name: {name!r}") from None
        return x509.DNSName(name)


def _moment(instant: Instant) -> datetime:
    return _EPOCH + timedelta(milliseconds=instant)
