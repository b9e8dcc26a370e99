"""Settings of a process: what a file and the environment may say, and how mistakes are told."""

from pathlib import Path

import pytest

from bus.errors import BadInput
from bus.settings import (
    LogLevel,
    ProcessSettings,
    child_environment,
    load_settings,
    settings_bytes_max,
)
from ncb_nodes.process import NodeSettings
from ncb_nodes.receiving_policy import ActsOn
from secretariat.process import SecretariatSettings

TABLES = """
[keys]
signing_key = "XA/signing.key"
signing_certificate = "XA/signing.pem"
tls_key = "XA/tls.key"
tls_certificate = "/elsewhere/tls.pem"
[trust]
root = "root.pem"
authority = "AUTH/signing.pem"
opening = "opening.msgpack"
"""
MINIMAL = f'format_version = 1\nparty = "XA"\nstore = "XA.sqlite"\n{TABLES}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the settings file of a test lies; a minimal one is there."""
    path = tmp_path / "node.toml"
    path.write_text(MINIMAL)
    return path


def refusal(path: Path, text: str, kind: type[ProcessSettings] = ProcessSettings) -> str:
    """Return what is said of a settings file with this text."""
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        load_settings(path, kind, {})
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_minimal_file_is_completed_with_defaults(file: Path) -> None:
    """What a file leaves out has a default, and relative paths start at its folder."""
    settings = load_settings(file, ProcessSettings, {})
    assert settings.party == "XA"
    assert settings.store == file.parent / "XA.sqlite"
    assert settings.keys.signing_key == file.parent / "XA" / "signing.key"
    assert settings.keys.tls_certificate == Path("/elsewhere/tls.pem")
    assert (settings.broker.url, settings.seed, settings.begins) == ("", "", "")
    assert (settings.log.level, settings.log.file) == (LogLevel.INFO, None)
    assert settings.control.token is None


def test_environment_wins_over_the_file(file: Path) -> None:
    """Every leaf has a variable, texts as they stand and other values as in TOML."""
    file.write_text(MINIMAL + '[broker]\nurl = "amqps://file:1/i247"\n')
    settings = load_settings(
        file,
        NodeSettings,
        {
            "I247_BROKER_URL": "amqps://environment:2/i247",
            "I247_LOG_LEVEL": "debug",
            "I247_LOG_FILE": "log.jsonl",
            "I247_STORE": "/var/XA.sqlite",
            "I247_POLICY_ACTS_ON": "pending",
            "I247_POLICY_LOCATED_SHARE": "0.5",
            "I247_POLICY_DECLINES_OFFENCES": '["fraud"]',
            "HOME": "/root",
        },
    )
    assert settings.broker.url == "amqps://environment:2/i247"
    assert (settings.log.level, settings.log.file) == (LogLevel.DEBUG, file.parent / "log.jsonl")
    assert settings.store == Path("/var/XA.sqlite")
    assert settings.policy.acts_on is ActsOn.PENDING
    assert settings.policy.located_share == 0.5
    assert settings.policy.declines_offences == ("fraud",)


def test_variable_can_stand_for_what_the_file_lacks(file: Path) -> None:
    """A container image may bring the file and leave the party to the environment."""
    file.write_text(MINIMAL.replace('party = "XA"\n', ""))
    assert load_settings(file, ProcessSettings, {"I247_PARTY": "XB"}).party == "XB"


def test_process_environment_is_read_by_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without another mapping it is the process's own environment."""
    monkeypatch.setenv("I247_SEED", "8")
    assert load_settings(file, ProcessSettings).seed == "8"


def test_children_inherit_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was meant for this process is not meant for those that it starts."""
    monkeypatch.setenv("I247_SEED", "8")
    monkeypatch.setenv("OTHER", "kept")
    environment = child_environment({"PYTHONPATH": "/code"})
    assert "I247_SEED" not in environment
    assert (environment["OTHER"], environment["PYTHONPATH"]) == ("kept", "/code")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(f"colour = 1\n{MINIMAL}", "colour: no such setting", id="unknown key"),
        pytest.param(
            MINIMAL.replace('root = "root.pem"', 'root = "r"\nroots = "r"'),
            "trust.roots: no such setting",
            id="unknown key in a table",
        ),
        pytest.param(
            MINIMAL.replace('store = "XA.sqlite"\n', ""), "store: is missing", id="missing"
        ),
        pytest.param(
            MINIMAL.replace('root = "root.pem"\n', ""),
            "trust.root: is missing",
            id="missing deeper",
        ),
        pytest.param(MINIMAL.replace('"XA"', "7"), "party: Expected `str`, got `int`", id="type"),
        pytest.param(
            MINIMAL.replace('"root.pem"', "7"), "trust.root: a path in quotes", id="no path"
        ),
        pytest.param(MINIMAL.replace('"root.pem"', '""'), "trust.root: a path", id="empty path"),
        pytest.param(
            MINIMAL.replace("= 1", "= 2"), "format_version: 2 is not 1", id="other version"
        ),
        pytest.param("party = ", "not TOML", id="no TOML"),
        pytest.param("# " + "x" * settings_bytes_max, "larger than", id="too large"),
    ],
)
def test_mistake_in_the_file_is_told_with_file_and_key(file: Path, text: str, told: str) -> None:
    """One line names the file, the key and what is wrong with it."""
    assert refusal(file, text).startswith(f"{file}: {told}")


def test_mistake_in_a_variable_names_the_variable(file: Path) -> None:
    """Who set a variable is not sent to look in a file."""
    with pytest.raises(BadInput, match=r"^I247_LOG_LEVEL: Invalid enum value 'loud'$"):
        load_settings(file, ProcessSettings, {"I247_LOG_LEVEL": "loud"})


def test_unknown_variable_of_ours_is_refused(file: Path) -> None:
    """A variable that is misspelt does not go unnoticed."""
    with pytest.raises(BadInput, match=r"^I247_BROKER: no such setting; there are I247_BEGINS, "):
        load_settings(file, ProcessSettings, {"I247_BROKER": "amqps://x"})


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is told by its path."""
    with pytest.raises(BadInput, match=r"nothing\.toml: cannot be read \(No such file"):
        load_settings(tmp_path / "nothing.toml", ProcessSettings, {})


def test_each_kind_of_process_has_its_own_keys(file: Path) -> None:
    """A bureau's settings are none of the secretariat's, and the other way round."""
    bureau = MINIMAL + '[policy]\nacts_on = "pending"\n'
    file.write_text(bureau)
    assert load_settings(file, NodeSettings, {}).policy.acts_on is ActsOn.PENDING
    told = refusal(file, f'matching_key = "m"\n{bureau}', SecretariatSettings)
    assert told == f"{file}: policy: no such setting"
    assert refusal(file, bureau.replace("pending", "never"), NodeSettings) == (
        f"{file}: policy.acts_on: Invalid enum value 'never'"
    )


def test_no_setting_holds_a_secret() -> None:
    """Keys, tokens and the matching key are named by path and never written into a file."""
    secretive = {"signing_key", "tls_key", "matching_key", "token", "key"}
    for kind in (NodeSettings, SecretariatSettings):
        leaves = dict(_leaves(kind))
        held = {name: wanted for name, wanted in leaves.items() if name in secretive}
        assert held
        assert set(held.values()) <= {Path, Path | None}


def _leaves(kind: type) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, wanted in kind.__annotations__.items():
        fields = getattr(wanted, "__struct_fields__", None)
        found += _leaves(wanted) if fields else [(name, wanted)]
    for base in kind.__bases__:
        found += _leaves(base) if getattr(base, "__struct_fields__", None) else []
    return found
