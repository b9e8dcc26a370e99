"""The PKI folder: layout, modes and atomicity; and key files that are refused with their mend."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bus.errors import BadInput, KeyFileError
from bus.instants import DAY, instant_from_text
from bus.pki.certificates import verify_leaf
from bus.pki.keystore import (
    ADMIN_USER,
    PkiFolder,
    create_memory_pki,
    create_pki,
    load_authority,
    load_certificate_der,
    load_signing_identity,
    load_signing_key,
)

BEGIN = instant_from_text("2034-01-01T00:00:00.000Z")
END = instant_from_text("2035-01-01T00:00:00.000Z")
WALL_NOW = instant_from_text("2026-06-01T12:00:00.000Z")


def new_pki(folder: Path) -> PkiFolder:
    """Write a PKI of two members and the commission."""
    return create_pki(
        folder,
        ["FR", "XA", "CCF"],
        simulated_not_before=BEGIN,
        simulated_not_after=END,
        wall_now=WALL_NOW,
        broker_dns_names=["broker"],
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PkiFolder:
    """A PKI folder that no test changes."""
    return new_pki(tmp_path_factory.mktemp("keystore") / "pki")


def mode_of(path: Path) -> int:
    """Return the permission bits of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


def test_new_pki_has_one_folder_per_party_and_for_broker_and_administrator(pki: PkiFolder) -> None:
    """Secretariat and authority are always there; broker and administrator sign nothing."""
    files = {str(path.relative_to(pki.path)) for path in pki.path.rglob("*") if path.is_file()}
    pair = ("pem", "key")
    expected = {f"root.{kind}" for kind in pair}
    expected |= {f"{user}/tls.{kind}" for user in ("broker", ADMIN_USER) for kind in pair}
    for party in ("FR", "XA", "CCF", "IPSG", "AUTH"):
        expected |= {f"{party}/{name}.{kind}" for name in ("signing", "tls") for kind in pair}
    assert files == expected


def test_new_pki_is_closed_to_other_users(pki: PkiFolder) -> None:
    """Keys are 0600 and folders 0700, and no partial folder stays beside the PKI."""
    folders = [pki.path, *(path for path in pki.path.iterdir() if path.is_dir())]
    assert {mode_of(folder) for folder in folders} == {0o700}
    assert {mode_of(key) for key in pki.path.rglob("*.key")} == {0o600}
    assert [path.name for path in pki.path.parent.iterdir()] == ["pki"]


def test_loaded_identity_verifies_under_the_root_and_signs(pki: PkiFolder) -> None:
    """What was written is what comes back: the key matches the leaf, the leaf the root."""
    identity = load_signing_identity(pki, "XA")
    certificate = verify_leaf(identity.certificate_der, load_certificate_der(pki.root))
    identity.private_key.public_key().verify(identity.private_key.sign(b"x"), b"x")
    assert certificate.public_key_raw == identity.private_key.public_key().public_bytes_raw()
    assert (certificate.party, certificate.not_before, certificate.not_after) == ("XA", BEGIN, END)


def test_tls_files_of_every_user_are_valid_at_wall_time(pki: PkiFolder) -> None:
    """TLS leaves live in wall time even where the simulation plays years later."""
    for user in ("FR", "XA", "CCF", "IPSG", "AUTH", ADMIN_USER):
        pki.tls(user).check(WALL_NOW)
    pki.broker_tls.check(WALL_NOW)
    with pytest.raises(KeyFileError, match="valid from 2026-05-31 to 2026-07-01 only"):
        pki.tls("FR").check(WALL_NOW + 31 * DAY)


def test_authority_loaded_from_files_issues_leaves_that_verify(pki: PkiFolder) -> None:
    """A newcomer can be certified later by whoever holds the root's key."""
    authority = load_authority(pki)
    identity = authority.issue_signing("DE", BEGIN, END)
    root = load_certificate_der(pki.root)
    assert verify_leaf(identity.certificate_der, root).party == "DE"


def test_memory_pki_has_the_same_parties_without_files() -> None:
    """The embedded bus gets leaves under a root of its own, for the same parties."""
    pki = create_memory_pki(["FR"], simulated_not_before=BEGIN, simulated_not_after=END)
    assert sorted(pki.signing) == ["AUTH", "FR", "IPSG"]
    for party, identity in pki.signing.items():
        assert verify_leaf(identity.certificate_der, pki.root_der).party == party


def test_existing_pki_is_never_overwritten(tmp_path: Path) -> None:
    """A second creation is refused, and every byte of the first stays."""
    pki = new_pki(tmp_path / "pki")
    before = {path: path.read_bytes() for path in pki.path.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match="keys are never overwritten"):
        new_pki(pki.path)
    assert before == {path: path.read_bytes() for path in pki.path.rglob("*") if path.is_file()}
    assert [path.name for path in tmp_path.iterdir()] == ["pki"]


def test_empty_folder_may_become_a_pki(tmp_path: Path) -> None:
    """A folder made beforehand, as for a mount, is used when nothing is in it."""
    (tmp_path / "pki").mkdir()
    assert new_pki(tmp_path / "pki").root.is_file()


def test_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    """A place that cannot be written gives one line, and no half of a PKI."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BadInput, match="cannot write keys there"):
        new_pki(tmp_path / "file" / "pki")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_parties_and_names_of_bad_form_are_refused(tmp_path: Path) -> None:
    """One line names the text that is wrong, before anything is written."""
    with pytest.raises(BadInput, match=r"not a party code: '\.\./x'"):
        create_memory_pki(["../x"], simulated_not_before=BEGIN, simulated_not_after=END)
    with pytest.raises(BadInput, match="not a host name: 'a b'"):
        create_pki(
            tmp_path / "pki",
            [],
            simulated_not_before=BEGIN,
            simulated_not_after=END,
            wall_now=WALL_NOW,
            broker_dns_names=["a b"],
        )
    with pytest.raises(BadInput, match="end before they begin"):
        create_memory_pki([], simulated_not_before=END, simulated_not_after=BEGIN)
    assert list(tmp_path.iterdir()) == []


def rsa_pem() -> bytes:
    """Return a private key of a kind that nothing here uses."""
    return rsa.generate_private_key(65_537, 2_048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


KEY_FILES: dict[str, tuple[Callable[[PkiFolder], bytes | None], int, str]] = {
    "missing": (lambda _: None, 0o600, "no such file"),
    "empty": (lambda _: b"", 0o600, "not an unencrypted PEM private key"),
    "not_a_key": (lambda _: b"\xff\x00 no key", 0o600, "not an unencrypted PEM private key"),
    "a_certificate": (
        lambda pki: pki.root.read_bytes(),
        0o600,
        "not an unencrypted PEM private key",
    ),
    "rsa_key": (lambda _: rsa_pem(), 0o600, "not an Ed25519 key"),
    "ec_key": (lambda pki: pki.tls("FR").key.read_bytes(), 0o600, "not an Ed25519 key"),
    "huge": (lambda _: bytes(70_000), 0o600, "larger than 65536 bytes"),
    "group_readable": (
        lambda pki: pki.signing_key("FR").read_bytes(),
        0o640,
        "other users have access to this key; run 'chmod 600 ",
    ),
    "world_readable": (
        lambda pki: pki.signing_key("FR").read_bytes(),
        0o604,
        "other users have access to this key; run 'chmod 600 ",
    ),
}


@pytest.mark.parametrize("case", KEY_FILES)
def test_signing_key_that_may_not_be_used_is_refused_in_one_line(
    case: str, pki: PkiFolder, tmp_path: Path
) -> None:
    """The line names the file and what is wrong with it."""
    content, mode, text = KEY_FILES[case]
    path = tmp_path / "signing.key"
    octets = content(pki)
    if octets is not None:
        path.write_bytes(octets)
        path.chmod(mode)
    with pytest.raises(KeyFileError, match=text) as refused:
        load_signing_key(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_folder_in_the_place_of_a_key_is_refused(tmp_path: Path) -> None:
    """An operating-system error is told as one line about the file."""
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_signing_key(tmp_path)


def test_tls_files_that_do_not_belong_together_are_refused(pki: PkiFolder, tmp_path: Path) -> None:
    """Key, certificate and root are checked against each other before any connection."""
    own, other = pki.tls("FR"), pki.tls("XA")
    foreign = new_pki(tmp_path / "foreign")
    mixed = type(own)
    with pytest.raises(KeyFileError, match="not the key of"):
        mixed(own.root, own.certificate, other.key).check()
    with pytest.raises(KeyFileError, match="not issued by"):
        mixed(foreign.root, own.certificate, own.key).check()
    with pytest.raises(KeyFileError, match="not an EC key"):
        mixed(own.root, own.certificate, pki.signing_key("FR")).check()
    with pytest.raises(KeyFileError, match=r"not an X\.509 certificate"):
        mixed(own.root, own.key, own.key).check()
    with pytest.raises(KeyFileError, match="no such file"):
        mixed(tmp_path / "none.pem", own.certificate, own.key).check()


def test_identity_whose_key_and_leaf_differ_is_refused(tmp_path: Path) -> None:
    """A key copied beside another party's certificate is found out at loading."""
    pki = new_pki(tmp_path / "pki")
    pki.signing_key("XA").replace(pki.signing_key("FR"))
    with pytest.raises(KeyFileError, match="not the key of"):
        load_signing_identity(pki, "FR")


def test_root_key_that_is_not_the_roots_is_refused(tmp_path: Path) -> None:
    """Nobody issues under a root with another key by mistake."""
    pki = new_pki(tmp_path / "pki")
    pki.tls("FR").key.replace(pki.root_key)
    with pytest.raises(KeyFileError, match="not the key of"):
        load_authority(pki)
