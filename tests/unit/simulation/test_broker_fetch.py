"""Fetching a RabbitMQ with a stand-in for apt: all or nothing, once, and in one line if not."""

import fcntl
import threading
import time
from pathlib import Path

import pytest

from bus.errors import BrokerUnavailable
from simulation.broker import fetch
from simulation.broker.fetch import fetch_server_tree, find_or_fetch
from simulation.broker.server_tree import find_cached_tree

APT_GET = """\
#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
*update*) exit 100;;
*--simulate*) [ -e "$CALLS.unresolved" ] && exit 100
    printf 'Inst libc6 (2)\\nInst erlang-base (25)\\nInst rabbitmq-server (3)\\n';;
*download*) [ -e "$CALLS.offline" ] && { echo "E: no route to the archive" >&2; exit 100; }
    for last in "$@"; do :; done; sleep 0.1; touch erlang.deb server.deb;;
esac
"""
DPKG_DEB = """\
#!/bin/sh
root=$3
case "$2" in
*erlang.deb) mkdir -p "$root/usr/lib/erlang/bin" "$root/usr/lib/erlang/erts-13.1/bin" "$root/etc"
    touch "$root/usr/lib/erlang/bin/erl" "$root/usr/lib/erlang/bin/epmd"
    printf '#!/bin/sh\\n[ -e "$CALLS.broken" ] && { echo no libcrypto; exit 1; }; exit 0\\n' \
        > "$root/usr/lib/erlang/erts-13.1/bin/erlexec"
    chmod +x "$root/usr/lib/erlang/erts-13.1/bin/erlexec";;
*) [ -e "$CALLS.damaged" ] && { echo "not a package" >&2; exit 2; }
    version=$(cat "$CALLS.version" 2>/dev/null || echo 3.10.8)
    home=$root/usr/lib/rabbitmq/lib/rabbitmq_server-$version
    mkdir -p "$home/sbin" "$home/plugins/rabbit-$version"
    touch "$home/sbin/rabbitmq-server" "$home/sbin/rabbitmq-env";;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-ins before the real commands; return the file that they note calls in."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def trees(cache: Path) -> list[str]:
    """Return what lies in a cache beside its lock."""
    return sorted(path.name for path in cache.iterdir() if path.name != "fetch.lock")


def test_fetched_tree_is_complete_runs_and_is_found_again(calls: Path, tmp_path: Path) -> None:
    """What apt resolves is downloaded and unpacked; one line says so; nothing partial stays."""
    said: list[str] = []
    tree = fetch_server_tree(said.append, cache=tmp_path / "cache")
    assert (tree.version, len(trees(tmp_path / "cache"))) == ("3.10.8", 1)
    assert find_cached_tree(tmp_path / "cache") == tree
    assert not (tmp_path / "cache" / trees(tmp_path / "cache")[0] / "etc").exists()
    assert len(said) == 1
    assert "no root needed" in said[0]
    download = next(line for line in calls.read_text().splitlines() if "download" in line)
    assert download.endswith("download erlang-base rabbitmq-server")


def test_second_call_fetches_nothing_and_says_nothing(calls: Path, tmp_path: Path) -> None:
    """A tree that is there is used as it is."""
    first = fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    told = calls.read_text()
    said: list[str] = []
    assert fetch_server_tree(said.append, cache=tmp_path / "cache") == first
    assert (said, calls.read_text()) == ([], told)


def test_relocated_erlang_runs_from_any_place(calls: Path, tmp_path: Path) -> None:
    """The start script finds its runtime from where it lies, so that a cache can be moved."""
    assert calls.name == "calls"
    tree = fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    script = (tree.erlang_bin / "erl").read_text()
    assert "/usr/lib/erlang" not in script
    assert str(tmp_path) not in script


def test_unresolved_dependencies_fall_back_to_the_known_list(calls: Path, tmp_path: Path) -> None:
    """Where apt cannot plan an installation, the packages of Debian 12 are asked for."""
    Path(f"{calls}.unresolved").touch()
    fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    download = next(line for line in calls.read_text().splitlines() if "download" in line)
    assert "rabbitmq-server erlang-asn1 erlang-base" in download


@pytest.mark.parametrize(
    ("obstacle", "text"),
    [
        ("offline", "E: no route to the archive"),
        ("damaged", "server.deb: not a package"),
        ("broken", "Erlang does not run here: no libcrypto"),
    ],
)
def test_failed_fetch_leaves_nothing_and_names_the_other_ways(
    obstacle: str, text: str, calls: Path, tmp_path: Path
) -> None:
    """One line gives the cause and what else can be done; the cache looks untouched."""
    Path(f"{calls}.{obstacle}").touch()
    with pytest.raises(BrokerUnavailable, match=text) as failed:
        fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    assert "\n" not in str(failed.value)
    for way in ("install rabbitmq-server", "--broker-url", "Docker", "--bus embedded"):
        assert way in str(failed.value)
    assert trees(tmp_path / "cache") == []


def test_distribution_with_an_old_release_is_told(calls: Path, tmp_path: Path) -> None:
    """A server without at-least-once dead letters is not kept."""
    Path(f"{calls}.version").write_text("3.9.13")
    with pytest.raises(BrokerUnavailable, match=r"no RabbitMQ 3\.10 or newer"):
        fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    assert trees(tmp_path / "cache") == []


def test_left_over_of_a_killed_fetch_is_cleared_and_never_used(calls: Path, tmp_path: Path) -> None:
    """A crash half way leaves a partial folder, which the next fetch removes."""
    assert calls.name == "calls"
    left_over = tmp_path / "cache" / ".partial-dead" / "root"
    left_over.mkdir(parents=True)
    assert find_cached_tree(tmp_path / "cache") is None
    fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    assert not left_over.exists()


def test_concurrent_fetches_download_once(calls: Path, tmp_path: Path) -> None:
    """All but one wait for the lock and then take what the one has fetched."""
    found: list[str] = []
    said: list[str] = []

    def one() -> None:
        found.append(fetch_server_tree(said.append, cache=tmp_path / "cache").version)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["3.10.8"] * 3
    assert calls.read_text().count("download") == 1
    assert sum("fetching RabbitMQ and Erlang packages" in line for line in said) == 1


def test_lock_that_is_held_too_long_ends_in_one_line(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stuck process does not hold everybody else for ever."""
    assert calls.name == "calls"
    monkeypatch.setattr(fetch, "lock_seconds_max", 0.0)
    (tmp_path / "cache").mkdir()
    with (tmp_path / "cache" / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BrokerUnavailable, match="another process holds"):
            fetch_server_tree(lambda _: None, cache=tmp_path / "cache")


def test_command_that_hangs_is_given_up(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every wait has a deadline."""
    assert calls.name == "calls"
    monkeypatch.setattr(fetch, "command_seconds_max", 0.05)
    begin = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="apt-get took over 0 s"):
        fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    assert time.monotonic() - begin < 5


def test_system_without_apt_names_the_other_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on Debian and Ubuntu nothing is attempted."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerUnavailable, match="no apt-get to fetch one: install rabbitmq"):
        fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_cache_that_cannot_be_written_is_named(calls: Path, tmp_path: Path) -> None:
    """An operating-system error becomes one line with the path."""
    assert calls.name == "calls"
    (tmp_path / "file").touch()
    with pytest.raises(BrokerUnavailable, match="file/cache: Not a directory"):
        fetch_server_tree(lambda _: None, cache=tmp_path / "file" / "cache")


def test_find_or_fetch_prefers_what_is_there(calls: Path, tmp_path: Path) -> None:
    """Only without any server is one fetched."""
    fetched = fetch_server_tree(lambda _: None, cache=tmp_path / "cache")
    told = calls.read_text()
    assert find_or_fetch(lambda _: None, cache=tmp_path / "cache").version >= fetched.version
    assert calls.read_text() == told
