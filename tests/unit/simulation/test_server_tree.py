"""Which RabbitMQ is chosen: installed before fetched, never one too old or half there."""

import platform
from pathlib import Path

import pytest

from bus.errors import BrokerUnavailable
from simulation.broker.server_tree import (
    ServerTree,
    cache_folder,
    find_cached_tree,
    find_server_tree,
    system_tag,
    tree_in,
    version_tuple,
)


def executable(path: Path) -> None:
    """Write a program that does nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def make_server(home: Path, version: str, plugin: str = "rabbit-{}") -> Path:
    """Lay out a server as its packages do and return its sbin folder."""
    for name in ("rabbitmq-server", "rabbitmq-env"):
        executable(home / "sbin" / name)
    (home / "plugins" / plugin.format(version)).mkdir(parents=True)
    (home / "plugins" / "rabbit_common-9.9.9").mkdir()
    return home / "sbin"


def make_erlang(folder: Path) -> Path:
    """Lay out an Erlang's programs and return their folder."""
    for name in ("erl", "epmd"):
        executable(folder / name)
    return folder


def make_fetched(cache: Path, version: str, tag: str | None = None) -> Path:
    """Lay out a fetched tree in a cache and return its root."""
    root = cache / f"rabbitmq-{version}-{tag or system_tag()}"
    make_server(root / f"usr/lib/rabbitmq/lib/rabbitmq_server-{version}", version)
    make_erlang(root / "usr/lib/erlang/bin")
    return root


def find(tmp_path: Path, *folders: Path) -> ServerTree | None:
    """Search the given folders as PATH, a system folder and a cache below `tmp_path`."""
    return find_server_tree(
        search_path=":".join(map(str, folders)) or str(tmp_path / "empty"),
        system_servers=tmp_path / "system",
        cache=tmp_path / "cache",
    )


def test_nothing_installed_and_nothing_fetched_finds_nothing(tmp_path: Path) -> None:
    """A machine without RabbitMQ answers None, without an error for folders that do not exist."""
    assert find(tmp_path) is None


def test_server_on_the_search_path_is_found_behind_its_link(tmp_path: Path) -> None:
    """A link in a PATH folder leads to the server's own folder and version."""
    sbin = make_server(tmp_path / "rabbitmq_server-4.0.5", "4.0.5")
    erlang = make_erlang(tmp_path / "erlang")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "rabbitmq-server").symlink_to(sbin / "rabbitmq-server")
    tree = find(tmp_path, tmp_path / "bin", erlang)
    assert tree == ServerTree(sbin, erlang, "4.0.5", f"installed in {sbin.parent}")


def test_distributions_wrapper_is_passed_over_for_the_real_server(tmp_path: Path) -> None:
    """A packaged wrapper, which insists on root, is not taken; the server's own folder is."""
    executable(tmp_path / "bin" / "rabbitmq-server")
    sbin = make_server(tmp_path / "system/lib/rabbitmq_server-3.10.8", "3.10.8")
    tree = find(tmp_path, tmp_path / "bin", make_erlang(tmp_path / "erlang"))
    assert tree is not None
    assert (tree.sbin, tree.version) == (sbin, "3.10.8")


def test_installed_server_comes_before_a_fetched_one(tmp_path: Path) -> None:
    """What a person installed is used even if a newer tree lies in the cache."""
    make_fetched(tmp_path / "cache", "4.1.0")
    make_server(tmp_path / "system/lib/rabbitmq_server-3.12.1", "3.12.1")
    tree = find(tmp_path, make_erlang(tmp_path / "erlang"))
    assert tree is not None
    assert tree.version == "3.12.1"


def test_installed_server_that_is_too_old_gives_way_to_a_fetched_one(tmp_path: Path) -> None:
    """A release without at-least-once dead letters is as good as none."""
    root = make_fetched(tmp_path / "cache", "3.10.8")
    make_server(tmp_path / "system/lib/rabbitmq_server-3.9.13", "3.9.13")
    tree = find(tmp_path, make_erlang(tmp_path / "erlang"))
    assert tree is not None
    assert (tree.version, tree.origin) == ("3.10.8", f"fetched into {root}")


def test_newest_fetched_tree_of_this_system_is_chosen(tmp_path: Path) -> None:
    """Versions compare as numbers, and a tree of another distribution is not looked at."""
    for version in ("3.10.8", "3.9.13", "3.12.1"):
        make_fetched(tmp_path, version)
    make_fetched(tmp_path, "4.0.5", tag="plan9-4-pdp11")
    tree = find_cached_tree(tmp_path)
    assert tree is not None
    assert tree.version == "3.12.1"


@pytest.mark.parametrize("missing", ["sbin/rabbitmq-env", "sbin/rabbitmq-server", "erl", "epmd"])
def test_tree_that_lacks_a_program_is_not_used(missing: str, tmp_path: Path) -> None:
    """Half a tree is no tree."""
    root = make_fetched(tmp_path, "3.10.8")
    assert tree_in(root) is not None
    next(path for path in root.rglob(Path(missing).name)).unlink()
    assert tree_in(root) is None


def test_packed_and_prerelease_versions_are_read(tmp_path: Path) -> None:
    """Plugins come as folders or packed, and a version may have a suffix."""
    make_erlang(tmp_path / "usr/lib/erlang/bin")
    home = tmp_path / "usr/lib/rabbitmq/lib/rabbitmq_server-x"
    make_server(home, "4.0.0-rc.1", plugin="rabbit-{}.ez")
    tree = tree_in(tmp_path)
    assert tree is not None
    assert tree.version == "4.0.0-rc.1"
    assert version_tuple(tree.version) == (4, 0, 0)


def test_cache_is_where_the_user_says_else_in_the_home_folder() -> None:
    """XDG_CACHE_HOME counts when it is absolute, as its specification has it."""
    assert cache_folder({"XDG_CACHE_HOME": "/var/x"}) == Path("/var/x/i247-sim")
    home = Path.home() / ".cache" / "i247-sim"
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == home
    assert cache_folder({}) == home


def test_user_without_a_home_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's nameless user is told what to set."""

    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(BrokerUnavailable, match="set XDG_CACHE_HOME"):
        cache_folder({})


def test_system_without_a_release_file_still_has_a_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag is fit for a file name whatever the system calls itself."""
    monkeypatch.setattr(platform, "machine", lambda: "odd/one")

    def no_release() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr(platform, "freedesktop_os_release", no_release)
    assert system_tag() == "linux-0-odd_one"
