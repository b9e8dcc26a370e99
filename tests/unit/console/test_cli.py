"""The command line: what a person types, the line that comes back, and the exit code."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from console import cli
from console.cli import main
from console.commands import stories
from simulation.run_folder import folder_name
from simulation.scenario import load


class Ended(Struct, frozen=True):
    """What a command left on its two outputs, and its exit code."""

    code: int
    out: str
    err: str


class Terminal:
    """Runs commands in an empty folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def i247(self, *arguments: str) -> Ended:
        """Run one command."""
        self._monkeypatch.setattr(sys, "argv", ["i247", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self._capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)


@pytest.fixture
def terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Terminal:
    """A terminal in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys, monkeypatch)


STORY = """
format_version = 1
name = "two"
title = "Two bureaus"
summary = "One alert."
begins = "2024-03-04T00:00:00.000Z"
days = 2
members = ["XA", "XB"]

[[alerts]]
label = "thief"
source = "XA"
at = "3h"
to = ["XB"]
"""

BAD_INPUT = [
    (("run", "nonesuch"), "no scenario 'nonesuch'"),
    (("run", "first_light", "--set", "colour=green"), "unknown field `colour`"),
    (("run", "first_light", "--set", "days"), "expected key=value"),
    (("run", "first_light", "--set", "review.reviewers=many"), "$.review.reviewers"),
    (("run", "first_light", "--bus", "pigeon"), "pigeon"),
    (("run", "first_light", "--bus", "embedded", "--broker-url", "amqps://x"), "--broker-url"),
    (("run", "first_light", "--nonesuch"), "--nonesuch"),
    (("run", "missing.toml"), "missing.toml"),
    (("inject", "nonesuch", "--source", "XA"), "no abuse 'nonesuch'"),
    (("inject", "refugee", "--source", "ZZ"), "ZZ is no member"),
    (("inject", "refugee", "--source", "XA", "--to", "QQ"), "event inject: 'QQ' is no member"),
    (("inject", "refugee", "--source", "XA", "--at", "soon"), "'soon' is no span of time"),
    (("inject", "C-02", "--source", "XA"), "name one with --of"),
    (("abuses", "show", "T-99"), "no abuse 'T-99'"),
    (("topology", "--members", "27"), "1 to 26"),
    (("topology", "--members", "XA,x"), "x"),
    (("verify", "nowhere"), "no run folder"),
    (("scan", "nowhere"), "no run folder"),
    (("export", "nowhere", "id"), "no run folder"),
    (("pki", "init", "--out", "keys", "--begins", "then"), "--begins then"),
    (("pki", "init", "--out", "keys", "--begins", "9999-12-30T00:00:00.000Z"), "the year is not"),
    (("pki", "init", "--out", "keys", "--days", "100000000"), "--days"),
    (("node", "--settings", "missing.toml"), "missing.toml"),
    (("frobnicate",), "frobnicate"),
    (("inject", "refugee", "--source", "XA", "--count", "1001"), "1000"),
    (("run", "first_light", "--seed", ""), "--seed is empty"),
    (("run", "first_light", "--seed", "\udcff"), "--seed is no text"),
    (("run", "first_light", "--bus", "embedded", "--out", "/dev/null"), "is no folder"),
]


UNFIT_SETTINGS = [
    ("review.slot=0", "$.review.slot"),
    ("review.reviewers=0", "$.review.reviewers"),
    ("review.review_shortest=-1", "$.review.review_shortest"),
    ("review.review_longest=1", "review_shortest is longer"),
    ("slot_hours=0", "$.slot_hours"),
    ("scale=0", "$.scale"),
    ("scale=nan", "$.scale"),
    ("scale=inf", "$.scale"),
    ("days=0", "$.days"),
    ("days=100000000", "$.days"),
    ("days=2.5", "$.days"),
    ("settle_days_max=-1", "$.settle_days_max"),
    ("background.diffusions=-1", "$.background.diffusions"),
    ("background.diffusions=1000001", "$.background.diffusions"),
    ("background.defective_share=7", "$.background.defective_share"),
    ("background.defects={}", "needs background.defects"),
    ("background.to_all=-0.1", "$.background.to_all"),
    ("background.listed_max=0", "$.background.listed_max"),
    ("policy.located_share=1.5", "$.policy.located_share"),
    ("policy.retraction_set_period=0", "$.policy.retraction_set_period"),
    ("members=[]", "$.members"),
    ('name="../../x"', "$.name"),
    ('name="x\\n"', "$.name"),
    ('begins="9999-12-30T00:00:00.000Z"', "is not within 1970 to 2199"),
]


@pytest.mark.parametrize(("setting", "told"), UNFIT_SETTINGS, ids=lambda value: str(value)[:40])
def test_setting_out_of_its_bounds_is_bad_input(
    terminal: Terminal, tmp_path: Path, setting: str, told: str
) -> None:
    """A number that nothing can be simulated with is refused before anything is written."""
    ended = terminal.i247("run", "first_light", "--bus", "embedded", "--set", setting)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1, ended.err
    assert told in ended.err
    assert not list(tmp_path.iterdir())


def test_whole_number_is_taken_where_a_fraction_is_meant() -> None:
    """TOML tells 1 from 1.0; a person who writes a scenario need not."""
    story = load(
        "first_light", {"scale": "2", "background.to_all": "1", "policy.located_share": "0"}
    )
    assert (story.scale, story.background.to_all, story.policy.located_share) == (2, 1, 0)


@pytest.mark.parametrize(("arguments", "told"), BAD_INPUT, ids=lambda value: str(value)[:40])
def test_bad_input_is_told_in_one_line_and_ends_with_2(
    terminal: Terminal, arguments: Sequence[str], told: str
) -> None:
    """What a person got wrong is named, without a traceback."""
    ended = terminal.i247(*arguments)
    lines = [line for line in ended.err.splitlines() if not line.startswith("bus: ")]
    assert ended.code == 2
    assert len(lines) == 1, ended.err
    assert told in lines[0]
    assert not ended.out


STORY_FAULTS = [
    ('label = "thief"', 'label = "thief"\nhue = "red"', "unknown field `hue`"),
    ('source = "XA"', 'source = "XQ"', "'XQ' is no member"),
    ('to = ["XB"]', 'to = ["Z-MOON"]', "'Z-MOON' is no member"),
    ('at = "3h"', 'at = "noon"', "'noon' is no span of time"),
    ('at = "3h"', 'at = "99999999d"', "longer than 3660 days"),
    ("format_version = 1", "extends = 5\nformat_version = 1", "names no scenario"),
    ("format_version = 1", "extends = 'story.toml'", "extend one another"),
    ("days = 2", "days = 2\n[profiles]\nXA = 'ghost'\n", "no profile 'ghost'"),
    ("days = 2", "days = 2\n[profiles]\nXQ = 'acts_on_pending'\n", "'XQ' is no member"),
    ('begins = "2024-03-04T00:00:00.000Z"', 'begins = "today"', "no UTC instant"),
    ("format_version = 1", "format_version = 9", "format version 9"),
    ('at = "3h"', 'at = "3h"\ndefect = "green"', "green"),
    ('at = "3h"', 'at = "3h"\ncolour = "mauve"', "Invalid enum value 'mauve'"),
    ("[[alerts]]", "[[alerts", "line"),
    (
        "[[alerts]]",
        '[[events]]\nkind = "inject"\nat = "1h"\nmember = "XA"\nabuse = "ghost"\n\n[[alerts]]',
        "no abuse 'ghost'",
    ),
    (
        "[[alerts]]",
        '[[events]]\nkind = "withdraw"\nat = "1h"\nlabel = "ghost"\n\n[[alerts]]',
        "'ghost'",
    ),
]


@pytest.mark.parametrize(("old", "new", "told"), STORY_FAULTS, ids=lambda value: str(value)[:30])
def test_scenario_with_a_fault_is_refused_in_one_line(
    terminal: Terminal, tmp_path: Path, old: str, new: str, told: str
) -> None:
    """A story that names what does not exist is refused before, and with its file."""
    assert old in STORY
    text = STORY.replace(old, new, 1)
    if "[profiles]" in new:
        table = new.removeprefix("days = 2\n")
        text = STORY.replace("[[alerts]]", f"{table}\n[[alerts]]", 1)
    (tmp_path / "story.toml").write_text(text)
    ended = terminal.i247("run", "story.toml", "--bus", "embedded")
    assert ended.code == 2, ended.err
    assert told in ended.err.splitlines()[-1]


def test_story_from_a_file_prints_its_verdict_and_writes_its_folder(
    terminal: Terminal, tmp_path: Path
) -> None:
    """A run names what it found and where it lies; the second goes beside the first."""
    (tmp_path / "story.toml").write_text(STORY)
    first = terminal.i247("run", "story.toml", "--bus", "embedded", "--seed", "3")
    second = terminal.i247("run", "story.toml", "--bus", "embedded", "--seed", "3")
    assert (first.code, second.code) == (0, 0)
    assert "verdict: valid" in first.out
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == ["two-embedded-3", "two-embedded-3-2"]


def test_json_prints_exactly_results_json_and_tells_the_rest_elsewhere(
    terminal: Terminal, tmp_path: Path
) -> None:
    """With --json the standard output is for programs alone."""
    (tmp_path / "story.toml").write_text(STORY)
    ended = terminal.i247("run", "story.toml", "--bus", "embedded", "--json", "--out", "here")
    assert ended.out == (tmp_path / "here" / "results.json").read_text()
    assert json.loads(ended.out)["verdict"] == "valid"


def test_run_is_verified_scanned_and_exported_from_its_folder(
    terminal: Terminal, tmp_path: Path
) -> None:
    """A folder proves again what it said, and gives a statement out in the standard form."""
    (tmp_path / "story.toml").write_text(STORY)
    assert terminal.i247("run", "story.toml", "--bus", "embedded", "--out", "here").code == 0
    verified = terminal.i247("verify", "here")
    scanned = terminal.i247("scan", "here")
    history = (tmp_path / "here" / "history.jsonl").read_text().splitlines()
    issued = next(row for row in map(json.loads, history) if row["event"] == "diffusion_issued")
    exported = terminal.i247("export", "here", issued["message_id"])
    assert (verified.code, scanned.code, exported.code) == (0, 0, 0), verified.err
    assert "0 copies found" in scanned.out
    assert json.loads(exported.out)["payloadType"] == "application/vnd.i247.diffusion.v1+msgpack"


def test_run_whose_results_were_changed_is_not_verified(terminal: Terminal, tmp_path: Path) -> None:
    """Results that the stores do not bear out are named."""
    (tmp_path / "story.toml").write_text(STORY)
    assert terminal.i247("run", "story.toml", "--bus", "embedded", "--out", "here").code == 0
    results = tmp_path / "here" / "results.json"
    changed = json.loads(results.read_text())
    changed["counts"]["diffusions"] += 1
    results.write_text(json.dumps(changed))
    ended = terminal.i247("verify", "here")
    assert ended.code == 1
    assert "says something else about counts" in ended.err


HISTORY_CHANGES = [
    (lambda _: b"", "says something else than the stores"),
    (
        lambda history: history.replace(b"diffusion_issued", b"diffusion_hidden", 1),
        "says something",
    ),
    (lambda _: None, "history.jsonl is missing"),
]


@pytest.mark.parametrize(("change", "told"), HISTORY_CHANGES, ids=["emptied", "altered", "missing"])
def test_run_whose_history_was_changed_is_not_verified(
    terminal: Terminal, tmp_path: Path, change: Callable[[bytes], bytes | None], told: str
) -> None:
    """A history that the stores do not bear out is named, and so is one that is gone."""
    (tmp_path / "story.toml").write_text(STORY)
    assert terminal.i247("run", "story.toml", "--bus", "embedded", "--out", "here").code == 0
    history = tmp_path / "here" / "history.jsonl"
    changed = change(history.read_bytes())
    history.unlink()
    if changed is not None:
        history.write_bytes(changed)
    ended = terminal.i247("verify", "here")
    assert ended.code == 1
    assert told in ended.err


@pytest.mark.parametrize("content", [b'{"wall_seconds": 1', b"[]", b"{}", b"\xff"])
def test_results_that_cannot_be_read_are_bad_input(
    terminal: Terminal, tmp_path: Path, content: bytes
) -> None:
    """Results cut short are no verdict: they are told in one line with their file."""
    (tmp_path / "story.toml").write_text(STORY)
    assert terminal.i247("run", "story.toml", "--bus", "embedded", "--out", "here").code == 0
    (tmp_path / "here" / "results.json").write_bytes(content)
    ended = terminal.i247("verify", "here")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "results.json" in ended.err


@pytest.mark.parametrize("name", ["root.der", "XA.der"])
def test_certificate_cut_short_is_bad_input(terminal: Terminal, tmp_path: Path, name: str) -> None:
    """A folder whose keys prove nothing cannot be judged, and says so with its place."""
    (tmp_path / "story.toml").write_text(STORY)
    assert terminal.i247("run", "story.toml", "--bus", "embedded", "--out", "here").code == 0
    certificate = tmp_path / "here" / "trust" / name
    certificate.write_bytes(certificate.read_bytes()[:100])
    ended = terminal.i247("verify", "here")
    assert ended.code == 2
    assert "here/trust: " in ended.err


def test_folder_that_cannot_be_made_is_told_in_one_line(terminal: Terminal, tmp_path: Path) -> None:
    """What the file system refuses is neither a verdict nor a defect."""
    (tmp_path / "story.toml").write_text(STORY)
    (tmp_path / "runs").write_text("no folder")
    ended = terminal.i247("run", "story.toml", "--bus", "embedded")
    assert ended.code == 4
    assert "runs cannot be made" in ended.err.splitlines()[-1]


@pytest.mark.parametrize("seed", ["../../x", "a/b", "..", "", " ", "\x1b[31m", "é" * 500])
def test_any_seed_gives_a_folder_of_its_own_beside_the_others(seed: str) -> None:
    """No seed leads out of the folder of runs, and no two unfit ones share a name."""
    name = folder_name("two", "embedded", seed)
    assert re.fullmatch(r"two-embedded-[A-Za-z0-9_-]{1,40}", name)
    assert name != folder_name("two", "embedded", seed + "!")


@pytest.mark.parametrize("command", ["run", "inject"])
def test_folder_is_shown_without_what_moves_a_terminal(
    terminal: Terminal, tmp_path: Path, command: str
) -> None:
    """Escape and direction characters and brackets in a folder's name are only ever text."""
    (tmp_path / "story.toml").write_text(STORY)
    arguments = ["run", "story.toml"]
    if command == "inject":
        arguments = ["inject", "T-01", "--source", "XA", "--into", "story.toml", "--at", "6h"]
    ended = terminal.i247(*arguments, "--bus", "embedded", "--out", "w\x1b[31m\u202e[bold]")
    assert ended.code == 0, ended.err
    assert "results in w<U+001B>[31m<U+202E>[bold]" in ended.out
    assert not {"\x1b", "\u202e"} & set(ended.out)
    assert all(line == line.rstrip() for line in ended.out.splitlines())


@pytest.mark.parametrize("options", [(), ("--traceback",)])
def test_error_nobody_foresaw_is_no_verdict(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, options: Sequence[str]
) -> None:
    """It ends with 4 and one line; where it came up in full is shown to those who ask."""

    def broken(_: object) -> None:
        message = "[/oops]"
        raise KeyError(message)

    monkeypatch.setattr(stories, "abuse_named", broken)
    ended = terminal.i247(*options, "abuses", "show", "T-01")
    assert ended.code == 4
    last = ended.err.splitlines()[-1]
    assert "i247: failed: KeyError at test_cli:" in last or "at stories:" in last
    assert last.endswith("(this is a defect; see --traceback)")
    assert ("Traceback" in ended.err) is bool(options)


def test_interrupted_run_says_so_and_writes_nothing(tmp_path: Path) -> None:
    """Ctrl-C ends a run with 130 and one line, also where only the event loop sees it."""
    code = "import sys; from console.cli import main; sys.argv[0] = 'i247'; main()"
    arguments = ("run", "first_light", "--bus", "embedded", "--set", "background.diffusions=2000")
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(cli.__file__).parent.parent)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert first.startswith("day 1"), first + rest
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "i247: interrupted; nothing was written"
    assert not list(tmp_path.iterdir())


def test_folder_that_holds_something_is_never_written_over(
    terminal: Terminal, tmp_path: Path
) -> None:
    """An older run stays what it was."""
    (tmp_path / "story.toml").write_text(STORY)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "note").write_text("mine")
    ended = terminal.i247("run", "story.toml", "--bus", "embedded", "--out", "here")
    assert ended.code == 2
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["note"]


def test_injected_forgery_is_shown_at_every_node(terminal: Terminal, tmp_path: Path) -> None:
    """A tester sees what each addressee did with the abuse."""
    (tmp_path / "story.toml").write_text(STORY)
    ended = terminal.i247(
        "inject", "T-01", "--source", "XA", "--into", "story.toml", "--at", "6h", "--count", "2"
    )
    assert ended.code == 0, ended.err
    assert ended.out.count("signature_invalid") == 4


def test_injected_refugee_is_rejected_under_article_2_and_deleted(
    terminal: Terminal, tmp_path: Path
) -> None:
    """The abuse brings its hidden truth along: the secretariat knows of the person's status."""
    (tmp_path / "story.toml").write_text(STORY)
    ended = terminal.i247(
        "inject", "refugee", "--source", "XA", "--into", "story.toml", "--at", "6h"
    )
    assert ended.code == 0, ended.err
    shown = " ".join(ended.out.split())
    assert "case decided (rejected:art2)" in shown
    assert "receipt signed (deleted)" in shown


def test_file_of_octets_is_injected_as_it_is(terminal: Terminal, tmp_path: Path) -> None:
    """Whatever octets a tester brings end in a quarantine with their reason."""
    (tmp_path / "story.toml").write_text(STORY)
    (tmp_path / "noise.bin").write_bytes(b"\x93\x01\x02")
    ended = terminal.i247(
        "inject", "noise.bin", "--source", "XB", "--into", "story.toml", "--at", "6h"
    )
    assert ended.code == 0, ended.err
    assert "envelope_malformed" in ended.out


def test_catalogues_list_what_there_is(terminal: Terminal) -> None:
    """Scenarios and abuses are shown with their titles, and one of each in full."""
    assert "first_light" in terminal.i247("scenarios").out
    assert "planted: no_residue at XD" in terminal.i247("scenarios", "show", "planted").out
    assert "forged_signature" in terminal.i247("abuses").out
    assert "lesson:" in terminal.i247("abuses", "show", "C-01").out


def test_topology_prints_the_definitions_of_the_members_asked_for(terminal: Terminal) -> None:
    """The document is JSON that a broker loads."""
    document = json.loads(terminal.i247("topology", "--members", "XA,XB").out)
    users = {user["name"] for user in document["users"]}
    assert {"XA", "XB", "IPSG", "AUTH"} <= users
