"""The folder that a network of containers is started from: who gets which key, and in what mode."""

import json
import os
import stat
import tomllib
from pathlib import Path

import pytest

from bus.control.server import ServerAccess
from bus.errors import BadInput
from bus.pki.certificates import verify_leaf
from bus.pki.key_files import check_issuer, load_certificate, load_secret
from bus.pki.keystore import PkiFolder, TlsFiles, load_certificate_der
from bus.settings import load_settings
from console.commands.compose import compose
from ncb_nodes.process import NodeSettings
from secretariat.process import SecretariatSettings
from simulation.networks.attached import NetworkFolder
from simulation.scenario import load
from tests.unit.simulation.compose_sample import STORY, compose_request, write_network

PRIVATE = b"PRIVATE KEY"
MEMBERS = ("xa", "xb", "xc")


def test_each_key_lies_in_one_folder_and_none_in_the_compose_file(tmp_path: Path) -> None:
    """A service has its own keys alone; the root's and the authority's are mounted by nobody."""
    files = write_network(tmp_path / "network")
    keys = {name: content for name, content in files.items() if PRIVATE in content}
    assert len(set(keys.values())) == len(keys)
    holders: dict[str, set[str]] = {}
    for name in keys:
        folder, _, rest = name.partition("/")
        holders.setdefault(folder, set()).add(rest)
    of_party = {"signing.key", "tls.key", "control.key"}
    assert holders == {
        "authority": {"root.key", "AUTH/signing.key", "AUTH/tls.key"},
        "broker": {"tls.key"},
        "ipsg": of_party,
        **dict.fromkeys(MEMBERS, of_party),
        "runner": {"pki/ADMIN/tls.key"},
    }
    assert b"./authority" not in files["compose.yaml"]


def test_everything_is_for_its_owner_alone(tmp_path: Path) -> None:
    """A key that others can read would be refused in the container too."""
    folder = tmp_path / "network"
    write_network(folder)
    for path in (folder, *folder.rglob("*")):
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid()), path


@pytest.mark.parametrize("member", MEMBERS)
def test_settings_of_a_member_name_files_that_fit(tmp_path: Path, member: str) -> None:
    """The process's own loaders take the settings, and keys, certificates and token with them."""
    write_network(tmp_path / "network")
    path = tmp_path / "network" / member / "settings.toml"
    settings = load_settings(path, NodeSettings, {})
    assert (settings.party, settings.broker.url) == (member.upper(), "")
    assert settings.policy == load(STORY).policy_of(settings.party)
    keys, trust, control = settings.keys, settings.trust, settings.control
    TlsFiles(trust.root, keys.tls_certificate, keys.tls_key).check()
    root = load_certificate_der(trust.root)
    assert verify_leaf(load_certificate_der(keys.signing_certificate), root).party == member.upper()
    assert verify_leaf(load_certificate_der(trust.authority), root).party == "AUTH"
    assert control.certificate is not None
    assert control.key is not None
    assert control.token is not None
    check_issuer(control.certificate, load_certificate(control.certificate), trust.root)
    access = ServerAccess(control.certificate, control.key, load_secret(control.token))
    assert access.token == load_secret(
        NetworkFolder(tmp_path / "network" / "runner").token(settings.party)
    )


def test_settings_of_the_secretariat_name_what_it_alone_knows(tmp_path: Path) -> None:
    """Who is a refugee and how persons are compared is in the secretariat's folder only."""
    request = compose_request()
    files = write_network(tmp_path / "network")
    settings = load_settings(
        tmp_path / "network" / "ipsg" / "settings.toml", SecretariatSettings, {}
    )
    assert settings.matching_key.read_bytes() == request.plan.matching_key
    assert settings.refugees is not None
    assert json.loads(settings.refugees.read_bytes()) == dict(request.plan.refugees)
    assert settings.review == request.scenario.review
    elsewhere = [content for name, content in files.items() if not name.startswith("ipsg/")]
    assert not any(request.plan.matching_key in content for content in elsewhere)


def test_every_party_and_the_runner_are_handed_the_same_opening(tmp_path: Path) -> None:
    """Everybody begins from the same statements of the authority, and tokens all differ."""
    files = write_network(tmp_path / "network")
    openings = {content for name, content in files.items() if name.endswith("opening.msgpack")}
    tokens = [content for name, content in files.items() if name.startswith("runner/tokens/")]
    assert len(openings) == 1
    assert len(set(tokens)) == len(tokens) == len(MEMBERS) + 1


def test_broker_speaks_tls_to_known_users_alone(tmp_path: Path) -> None:
    """No port without TLS, no login but by certificate, and users without a password."""
    files = write_network(tmp_path / "network")
    configuration = files["broker/rabbitmq.conf"].decode().splitlines()
    assert "listeners.tcp = none" in configuration
    assert "ssl_options.fail_if_no_peer_cert = true" in configuration
    assert [line for line in configuration if line.startswith("auth_mechanisms")] == [
        "auth_mechanisms.1 = EXTERNAL"
    ]
    assert files["broker/enabled_plugins"] == b"[rabbitmq_auth_mechanism_ssl].\n"
    users = json.loads(files["broker/definitions.json"])["users"]
    assert {user["name"] for user in users} >= {"ADMIN", "IPSG", "XA", "XB", "XC"}
    assert {user["password_hash"] for user in users} == {""}


def test_certificates_name_the_services(tmp_path: Path) -> None:
    """Broker and control ports are known by the names that Compose gives their containers."""
    write_network(tmp_path / "network")
    for name in ("broker/tls.pem", "xa/control.pem"):
        certificate = (tmp_path / "network" / name).read_bytes()
        service = name.partition("/")[0]
        assert service.encode() in load_certificate_der(tmp_path / "network" / name), certificate


def test_description_tells_the_runner_where_everybody_is(tmp_path: Path) -> None:
    """The runner reads addresses, story and seed from a file, and its own login beside it."""
    files = write_network(tmp_path / "network")
    description = tomllib.loads(files["runner/network.toml"].decode())
    assert description["broker"] == "amqps://broker:5671/i247"
    assert description["parties"].keys() == {"IPSG", "XA", "XB", "XC"}
    assert description["parties"]["XA"] == {"control": "tls://xa:7247", "data": "/data/XA"}
    PkiFolder(tmp_path / "network" / "runner" / "pki").tls("ADMIN").check()


def test_folder_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    """Keys in use are never written over."""
    folder = tmp_path / "network"
    before = write_network(folder)
    with pytest.raises(BadInput, match="something is there already"):
        write_network(folder)
    after = {name: (folder / name).read_bytes() for name in before}
    assert after == before
    assert [path.name for path in tmp_path.iterdir()] == ["network"]


def test_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    """A bad token source ends the work, and the half-made folder goes with it."""

    def no_token() -> str:
        raise BadInput("no more tokens")

    with pytest.raises(BadInput, match="no more tokens"):
        write_network(tmp_path / "network", token=no_token)
    assert list(tmp_path.iterdir()) == []


def test_command_makes_a_network_of_more_members(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Members beyond the story's own take part, and the runner is told of them."""
    compose("4", tmp_path / "four", STORY, "8")
    text = (tmp_path / "four" / "compose.yaml").read_text()
    assert r'"members=[\"XA\", \"XB\", \"XC\", \"XD\"]"' in text
    assert (tmp_path / "four" / "xd" / "signing.key").is_file()
    said = capsys.readouterr().err
    assert "docker compose" in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("members", "story", "line"),
    [
        ("3", "no_such_story", "--story no_such_story: containers have only"),
        ("2", STORY, "'XC' is no member"),
        ("0", STORY, "--members 0"),
    ],
)
def test_command_refuses_what_cannot_be_run(
    tmp_path: Path, members: str, story: str, line: str
) -> None:
    """A story that is not in the image or lacks its members is refused before keys are made."""
    with pytest.raises(BadInput, match=line):
        compose(members, tmp_path / "network", story, "1")
    assert list(tmp_path.iterdir()) == []
