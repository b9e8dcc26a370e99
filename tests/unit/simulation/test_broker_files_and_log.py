"""The pure parts around a private broker: configuration, log reading, pruning, comparison."""

import socket
from pathlib import Path

import pytest

from bus.errors import BadInput
from bus.pki.keystore import TlsFiles
from simulation.broker.broker_files import BrokerFiles, folder_characters_max, new_broker_files
from simulation.broker.broker_log import StartLog
from simulation.broker.configuration import Ports, configuration_text, environment, free_ports
from simulation.broker.definitions_check import differences
from simulation.broker.plugin_pruning import prune_plugins
from simulation.broker.server_tree import ServerTree

PORTS = Ports(15_001, 15_002, 15_003)
TLS = TlsFiles(Path("/pki/root.pem"), Path("/pki/tls.pem"), Path("/pki/tls.key"))
TREE = ServerTree(Path("/tree/sbin"), Path("/tree/erlang"), "3.10.8", "made up")


def test_configuration_has_one_tls_listener_and_one_way_in(tmp_path: Path) -> None:
    """No plain listener, client certificates demanded, EXTERNAL by common name alone."""
    lines = configuration_text(PORTS, BrokerFiles(tmp_path), TLS).splitlines()
    assert [line for line in lines if line.startswith("listeners.")] == [
        "listeners.tcp = none",
        "listeners.ssl.1 = 127.0.0.1:15001",
    ]
    assert [line for line in lines if line.startswith("auth_mechanisms")] == [
        "auth_mechanisms.1 = EXTERNAL"
    ]
    assert {
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
        "ssl_cert_login_from = common_name",
    } <= set(lines)


def test_environment_is_the_brokers_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the runner's environment gets in, and no system path is used."""
    monkeypatch.setenv("RABBITMQ_NODE_PORT", "5672")
    variables = environment(PORTS, BrokerFiles(tmp_path), TREE)
    assert "RABBITMQ_NODE_PORT" not in variables
    assert variables["PATH"] == "/tree/erlang:/usr/bin:/bin"
    paths = {value for value in variables.values() if value.startswith("/") and ":" not in value}
    assert {path for path in paths if not path.startswith(str(tmp_path))} == {"/dev/null"}


def test_free_ports_differ_and_can_be_bound() -> None:
    """Three different ports come back, and each is free."""
    ports = free_ports()
    numbers = {ports.amqps, ports.distribution, ports.epmd}
    assert len(numbers) == 3
    for number in numbers:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", number))


def test_folder_of_a_broker_is_private(tmp_path: Path) -> None:
    """Folder and files are for their owner alone; an empty folder may be used."""
    (tmp_path / "b").mkdir(mode=0o700)
    files = new_broker_files(tmp_path / "b", {"vhosts": []})
    assert files.folder.stat().st_mode & 0o077 == 0
    assert files.definitions.stat().st_mode & 0o077 == 0
    assert files.plugins.read_text() == "[rabbitmq_auth_mechanism_ssl].\n"


def test_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """A used, overlong or impossible folder gives one line."""
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="not empty"):
        new_broker_files(tmp_path, {})
    with pytest.raises(BadInput, match="too long or odd"):
        new_broker_files(tmp_path / ("x" * folder_characters_max), {})
    with pytest.raises(BadInput, match="too long or odd"):
        new_broker_files(tmp_path / "a\nb", {})
    with pytest.raises(BadInput, match="cannot be made a broker's folder"):
        new_broker_files(tmp_path / "file" / "b", {})


LOG_LINE = "2026-01-01 00:00:00.000000+00:00 [{}] <0.613.0> {}\n"


def start_log(tmp_path: Path, log: str, console: str = "") -> StartLog:
    """Return a reading of a start that wrote these texts after an earlier start's."""
    (tmp_path / "log").write_text(LOG_LINE.format("error", "of the last start"))
    (tmp_path / "console").write_text("ERROR: of the last start\n")
    reading = StartLog(tmp_path / "log", tmp_path / "console")
    for name, text in (("log", log), ("console", console)):
        with (tmp_path / name).open("a") as file:
            file.write(text)
    return reading


def test_start_is_known_by_the_consoles_line_of_this_start(tmp_path: Path) -> None:
    """The log may leave lines out, so the console counts, and only what came since."""
    line = "  Starting broker... completed with 1 plugins.\n"
    logged = LOG_LINE.format("info", "Server startup complete; 1 plugins started.")
    assert not start_log(tmp_path, logged, "  Starting broker...").is_up()
    begun = start_log(tmp_path, "", line)
    assert begun.is_up()
    assert not begun.port_was_taken()
    assert not StartLog(tmp_path / "log", tmp_path / "console").is_up()


@pytest.mark.parametrize(
    ("log", "console", "reason"),
    [
        ("", "", None),
        ("", "sh: erl: not found\n\n", "sh: erl: not found"),
        (
            LOG_LINE.format("error", "the cause") + LOG_LINE.format("error", "a consequence"),
            "last words\n",
            "the cause",
        ),
        (
            LOG_LINE.format("error", "supervisor: who cares"),
            "\nBOOT FAILED\n===========\nERROR: could not bind to distribution port 1\n\n",
            "could not bind to distribution port 1",
        ),
        (LOG_LINE.format("error", "x" * 1_000), "", "x" * 240),
    ],
)
def test_reason_of_a_failed_start_is_its_most_telling_line(
    log: str, console: str, reason: str | None, tmp_path: Path
) -> None:
    """RabbitMQ's verdict first, then the first error, then the last line; never a page."""
    (tmp_path / "log").touch()
    assert start_log(tmp_path, log, console).reason() == reason


def test_taken_port_is_recognised_in_log_and_console(tmp_path: Path) -> None:
    """Both ports of the server fail with words of their own."""
    assert start_log(
        tmp_path, LOG_LINE.format("error", "{listen_error,eaddrinuse}")
    ).port_was_taken()
    verdict = "ERROR: could not bind to distribution port 2\n"
    assert start_log(tmp_path, "", verdict).port_was_taken()


def make_plugin(folder: Path, name: str, *needed: str) -> None:
    """Lay out a plugin that names the applications it needs."""
    ebin = folder / f"{name}-1.0" / "ebin"
    ebin.mkdir(parents=True)
    listed = ",\n  ".join(("kernel", *needed))
    (ebin / f"{name}.app").write_text(
        f"{{application, {name}, [{{applications, [{listed}]}}, {{env, []}}]}}."
    )


def test_pruning_removes_optional_plugins_and_what_only_they_need(tmp_path: Path) -> None:
    """What the server, the enabled plugin or nobody names stays."""
    make_plugin(tmp_path, "rabbit", "rabbitmq_prelaunch", "rabbit_common", "shared")
    make_plugin(tmp_path, "rabbit_common")
    make_plugin(tmp_path, "rabbitmq_prelaunch")
    make_plugin(tmp_path, "rabbitmq_auth_mechanism_ssl", "rabbit")
    make_plugin(tmp_path, "rabbitmq_web", "rabbit", "shared", "cows")
    make_plugin(tmp_path, "cows", "more_cows")
    make_plugin(tmp_path, "more_cows")
    make_plugin(tmp_path, "shared")
    make_plugin(tmp_path, "unnamed")
    (tmp_path / "README").touch()
    assert prune_plugins(tmp_path) == ["cows", "more_cows", "rabbitmq_web"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README",
        "rabbit-1.0",
        "rabbit_common-1.0",
        "rabbitmq_auth_mechanism_ssl-1.0",
        "rabbitmq_prelaunch-1.0",
        "shared-1.0",
        "unnamed-1.0",
    ]


def test_pruning_leaves_an_unknown_layout_alone(tmp_path: Path) -> None:
    """Where the server itself is packed, nothing can be told about needs."""
    make_plugin(tmp_path, "rabbitmq_web")
    (tmp_path / "rabbit-4.0.ez").touch()
    assert prune_plugins(tmp_path) == []
    assert (tmp_path / "rabbitmq_web-1.0").exists()


def test_differences_name_what_is_missing_and_users_too_many() -> None:
    """Each kind is compared by what identifies it; a surplus user is a way in."""
    binding = {
        "vhost": "v",
        "source": "x",
        "destination_type": "queue",
        "destination": "q",
        "routing_key": "k",
    }
    wanted = {
        "vhosts": [{"name": "v"}],
        "users": [{"name": "FR", "tags": ""}],
        "queues": [{"vhost": "v", "name": "q", "durable": True}],
        "bindings": [binding],
    }
    actual = {**wanted, "users": [{"name": "FR"}, {"name": "guest"}], "bindings": []}
    assert differences(wanted, wanted) == []
    assert differences(wanted, actual) == [
        "missing in bindings: v, x, queue, q, k",
        "surplus in users: guest",
    ]
