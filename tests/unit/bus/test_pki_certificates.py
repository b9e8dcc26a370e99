"""Signing leaves: what the authority issues is accepted, everything else refused in one line."""

import base64
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from bus.identifiers import Role
from bus.instants import DAY, SECOND, instant_from_text
from bus.pki.authority import Authority
from bus.pki.certificates import (
    CertificateRefused,
    certificate_bytes_max,
    certificate_der,
    key_id_of,
    parse_signing_leaf,
    verify_leaf,
)

BEGIN = instant_from_text("2024-01-01T00:00:00.000Z")
END = instant_from_text("2031-01-01T00:00:00.000Z")
WALL_NOW = instant_from_text("2026-06-01T12:00:00.000Z")

AUTHORITY = Authority.create(BEGIN, END)


def leaf_der(
    *,
    common_names: tuple[str, ...] = ("FR",),
    units: tuple[str, ...] = ("ncb",),
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] | None = None,
) -> bytes:
    """Build a leaf that the test root really signs, and that differs from a good one as told."""
    subject = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    subject += [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
    root = x509.load_der_x509_certificate(AUTHORITY.root_der)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(root.subject)
        .public_key((key or Ed25519PrivateKey.generate()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2030, 1, 1, tzinfo=UTC))
    )
    for value, critical in extensions if extensions is not None else ((signing_usage(), True),):
        builder = builder.add_extension(value, critical=critical)
    root_key = load_pem_private_key(AUTHORITY.key_pem, password=None)
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    return builder.sign(root_key, hashes.SHA256()).public_bytes(Encoding.DER)


def signing_usage(*, digital_signature: bool = True) -> x509.KeyUsage:
    """Return a key usage that allows digital signatures or nothing but non-repudiation."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=not digital_signature,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.mark.parametrize(
    ("party", "role"),
    [
        ("FR", Role.NCB),
        ("XA", Role.NCB),
        ("IPSG", Role.SECRETARIAT),
        ("CCF", Role.CCF),
        ("AUTH", Role.AUTHORITY),
    ],
)
def test_issued_signing_leaf_says_party_role_key_and_simulated_validity(
    party: str, role: Role
) -> None:
    """A leaf carries the party's role, its key and validity in simulated, not wall, time."""
    identity = AUTHORITY.issue_signing(party, BEGIN, BEGIN + 10 * DAY)
    certificate = verify_leaf(identity.certificate_der, AUTHORITY.root_der)
    public_key = identity.private_key.public_key()
    assert (certificate.party, certificate.role) == (party, role)
    assert certificate.public_key_raw == public_key.public_bytes_raw()
    assert certificate.key_id == key_id_of(public_key)
    assert (certificate.not_before, certificate.not_after) == (BEGIN, BEGIN + 10 * DAY)
    assert certificate.der == identity.certificate_der


def test_pem_and_der_of_one_leaf_read_alike() -> None:
    """Both encodings give the same value, whose bytes are the DER."""
    der = AUTHORITY.issue_signing("FR", BEGIN, END).certificate_der
    pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    assert parse_signing_leaf(pem) == parse_signing_leaf(der)
    assert certificate_der(pem) == der


def test_instants_between_seconds_lose_their_milliseconds() -> None:
    """X.509 counts in seconds, so the milliseconds of an instant are dropped."""
    der = AUTHORITY.issue_signing("FR", BEGIN + 999, END + 1).certificate_der
    certificate = parse_signing_leaf(der)
    assert (certificate.not_before, certificate.not_after) == (BEGIN, END)


def test_authority_certifies_no_name_that_is_not_a_party_code() -> None:
    """Asking for a leaf of an unknown form is a caller's mistake and names the text."""
    with pytest.raises(ValueError, match="not a party code: 'fr'"):
        AUTHORITY.issue_signing("fr", BEGIN, END)


def usage_and(*more: tuple[x509.ExtensionType, bool]) -> bytes:
    """Build a leaf with a good key usage and further extensions."""
    return leaf_der(extensions=((signing_usage(), True), *more))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no_bytes": (lambda: b"", "not an X.509 certificate"),
    "not_a_certificate": (lambda: b"\x30\x03\x02\x01\x00", "not an X.509 certificate"),
    "broken_pem": (
        lambda: b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
        "not an X.509 certificate",
    ),
    "truncated": (lambda: leaf_der()[:-1], "not an X.509 certificate"),
    "bytes_after_the_end": (lambda: leaf_der() + b"\x00", "not an X.509 certificate"),
    "too_large": (lambda: bytes(certificate_bytes_max + 1), "larger than 4096 bytes"),
    "no_common_name": (lambda: leaf_der(common_names=()), "exactly one CN"),
    "two_common_names": (lambda: leaf_der(common_names=("FR", "DE")), "exactly one CN"),
    "no_unit": (lambda: leaf_der(units=()), "exactly one OU"),
    "two_units": (lambda: leaf_der(units=("ncb", "secretariat")), "exactly one OU"),
    "name_not_a_code": (lambda: leaf_der(common_names=("FRA",)), "not a party code: 'FRA'"),
    "name_with_line_end": (lambda: leaf_der(common_names=("FR\n",)), r"code: 'FR\\n'"),
    "member_as_secretariat": (
        lambda: leaf_der(units=("secretariat",)),
        "FR: OU 'secretariat' is not its role 'ncb'",
    ),
    "secretariat_as_member": (
        lambda: leaf_der(common_names=("IPSG",)),
        "IPSG: OU 'ncb' is not its role 'secretariat'",
    ),
    "ec_key": (lambda: leaf_der(key=ec.generate_private_key(ec.SECP256R1())), "not Ed25519"),
    "ca": (
        lambda: usage_and((x509.BasicConstraints(ca=True, path_length=None), True)),
        "a CA's, not a leaf",
    ),
    "no_key_usage": (lambda: leaf_der(extensions=()), "not meant for signatures"),
    "other_key_usage": (
        lambda: leaf_der(extensions=((signing_usage(digital_signature=False), True),)),
        "not meant for signatures",
    ),
    "unknown_critical_extension": (
        lambda: usage_and(
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
        ),
        r"unknown critical extension 1\.2\.3\.4",
    ),
    "foreign_root": (
        lambda: Authority.create(BEGIN, END).issue_signing("FR", BEGIN, END).certificate_der,
        "the root's signature does not verify",
    ),
    "other_issuer_name": (
        lambda: leaf_der().replace(b"I-24/7 simulation root", b"I-24/7 simulation roof"),
        "not issued by this network's root",
    ),
    "tampered_party": (
        lambda: leaf_der().replace(b"\x0c\x02FR", b"\x0c\x02DE"),
        "DE: the root's signature does not verify",
    ),
    "tls_leaf": (
        lambda: certificate_der(AUTHORITY.issue_client_tls("FR", WALL_NOW).certificate_pem),
        "exactly one OU",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_leaf_that_proves_nothing_is_refused_in_one_line(case: str) -> None:
    """Each defect has its own refusal, and no parser's exception gets out."""
    make, text = REFUSED[case]
    with pytest.raises(CertificateRefused, match=text) as refused:
        verify_leaf(make(), AUTHORITY.root_der)
    assert "\n" not in str(refused.value)


def test_damaged_leaf_is_refused_or_says_nothing_else() -> None:
    """Damage anywhere is a refusal, or (as in padding bits) changes nothing that is proven."""
    good = AUTHORITY.issue_signing("FR", BEGIN, END).certificate_der
    genuine = verify_leaf(good, AUTHORITY.root_der)
    refused = 0
    for position in range(len(good)):
        for flip in (0x01, 0x80):
            damaged = bytearray(good)
            damaged[position] ^= flip
            try:
                seen = verify_leaf(bytes(damaged), AUTHORITY.root_der)
            except CertificateRefused:
                refused += 1
            else:
                assert replace(seen, der=good) == genuine, position
    assert refused >= 2 * len(good) - 8


def test_leaf_in_the_place_of_the_root_is_refused() -> None:
    """Only a certificate authority's certificate can be the root."""
    identity = AUTHORITY.issue_signing("FR", BEGIN, END)
    with pytest.raises(CertificateRefused, match="not a certificate authority's"):
        verify_leaf(identity.certificate_der, identity.certificate_der)


def test_two_hundred_signing_leaves_are_issued_well_within_a_second() -> None:
    """The embedded bus makes a whole network's keys at each start, so it has to be quick."""
    begin = time.perf_counter()
    for _ in range(200):
        AUTHORITY.issue_signing("FR", BEGIN, END)
    assert time.perf_counter() - begin < 1.0


def openssl_verify(folder: Path, der_or_pem: bytes, *options: str) -> None:
    """Run `openssl verify` on a leaf against the test root and assert that it answers OK."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "the openssl command is needed: apt-get install openssl"
    leaf = x509.load_der_x509_certificate(certificate_der(der_or_pem))
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "root.pem").write_bytes(AUTHORITY.root_pem)
    command = [openssl, "verify", "-x509_strict", *options, "-CAfile", "root.pem", "leaf.pem"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "leaf.pem: OK\n"), ended.stderr


def test_openssl_verifies_a_signing_leaf_at_its_simulated_time(tmp_path: Path) -> None:
    """An outside tool accepts our signing leaves, strictly and at an instant of their validity."""
    der = AUTHORITY.issue_signing("IPSG", BEGIN, BEGIN + DAY).certificate_der
    openssl_verify(tmp_path, der, "-attime", str((BEGIN + DAY // 2) // SECOND))


def test_openssl_verifies_tls_leaves_for_their_purpose(tmp_path: Path) -> None:
    """An outside tool accepts TLS leaves as client and as server, host names included."""
    at = ("-attime", str(WALL_NOW // SECOND))
    client = AUTHORITY.issue_client_tls("FR", WALL_NOW).certificate_pem
    openssl_verify(tmp_path, client, *at, "-purpose", "sslclient")
    server = AUTHORITY.issue_broker_tls(WALL_NOW, ["broker.test", "10.1.2.3"]).certificate_pem
    for name in ("localhost", "broker.test"):
        openssl_verify(tmp_path, server, *at, "-purpose", "sslserver", "-verify_hostname", name)
    for address in ("127.0.0.1", "10.1.2.3"):
        openssl_verify(tmp_path, server, *at, "-purpose", "sslserver", "-verify_ip", address)


def test_tls_leaf_is_valid_from_a_day_ago_for_thirty_days() -> None:
    """Machines whose clocks differ a little still agree that a fresh TLS leaf is valid."""
    pem = AUTHORITY.issue_client_tls("FR", WALL_NOW).certificate_pem
    leaf = x509.load_pem_x509_certificate(pem)
    assert leaf.not_valid_before_utc == datetime(2026, 5, 31, 12, tzinfo=UTC)
    assert leaf.not_valid_after_utc == datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("name", ["", "two words", "a..b", "bröker", "x" * 64, "a\n"])
def test_broker_name_that_is_no_host_name_is_refused(name: str) -> None:
    """A certificate never carries a name that no client could ever ask for."""
    with pytest.raises(ValueError, match="not a host name"):
        AUTHORITY.issue_broker_tls(WALL_NOW, [name])


def test_pem_text_is_plain_base64_of_the_der() -> None:
    """What lies in a .pem file decodes to the very bytes that are announced on the wire."""
    body = AUTHORITY.root_pem.decode().split("-----")[2]
    assert base64.b64decode(body) == AUTHORITY.root_der
