"""The house rules hold for documents and pins, and each rule is shown a text that breaks it."""

import tomllib
from importlib import metadata

import pytest

from tests.house_rules import text_rules
from tests.house_rules.tracked_files import REPOSITORY, tracked_text

GOOD_DECISION = "# 0001 Title\n\n## Context\n\n## Options\n\n## Decision\n\n## Consequences\n"
GOOD_DECISIONS = {
    "docs/adr/index.md": "- [0001 Title](0001-title.md)\n",
    "docs/adr/0001-title.md": GOOD_DECISION,
}
GOOD_README = "make run, make test, i247 run first_light, not affiliated with\nINTERPOL\n"


def test_no_tracked_text_names_a_machine_or_a_package_index() -> None:
    """The repository works anywhere: no machine path and no index stands in it."""
    complaints = [
        complaint
        for path, text in tracked_text().items()
        for complaint in text_rules.names_machine(path, text)
    ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    "line",
    [
        "cd /wo" + "rk/main",
        'path = "/fa' + 'rm/x"',
        "--index" + "-url x",
        "--extra-index" + "-url=x",
        "--find" + "-links wheels",
        "https://index.example/sim" + "ple/",
    ],
)
def test_machine_path_or_index_is_named(line: str) -> None:
    """Each form of a machine path or an index brings a complaint with its line number."""
    (complaint,) = text_rules.names_machine("sample.txt", f"fine\n{line}\n")
    assert complaint.startswith("sample.txt:2:")


@pytest.mark.parametrize(
    "line", ["docs/wo" + "rk/", "network/work", "a simple/plain body", "https://x.example/simply"]
)
def test_ordinary_text_is_no_machine_path(line: str) -> None:
    """Words and relative paths that merely look alike pass."""
    assert text_rules.names_machine("sample.txt", line) == []


def test_decision_records_are_numbered_shaped_and_indexed() -> None:
    """Every decision record has its sections, the next number, and its title in the index."""
    complaints = text_rules.decision_records(tracked_text())
    assert not complaints, "\n".join(complaints)
    assert text_rules.decision_records(GOOD_DECISIONS) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"docs/adr/index.md": ""}, "should read"),
        ({"docs/adr/index.md": "- [0001 Other](0001-title.md)"}, "should read"),
        ({"docs/adr/0001-title.md": GOOD_DECISION.replace("Options", "Ideas")}, "no section"),
        ({"docs/adr/0001-title.md": GOOD_DECISION.replace("0001 Title", "Title")}, "first line"),
        ({"docs/adr/0003-more.md": GOOD_DECISION.replace("0001", "0003")}, "0002 comes next"),
        ({"docs/adr/index.md": "[0001 Title](0001-title.md) [0009 X](0009-x.md)"}, "not exist"),
    ],
    ids=["unindexed", "other title", "no options", "no number", "gap", "indexed but absent"],
)
def test_decision_record_out_of_order_is_named(change: dict[str, str], complaint: str) -> None:
    """A record that is misnumbered, misshapen or not indexed brings a complaint."""
    assert complaint in "\n".join(text_rules.decision_records(GOOD_DECISIONS | change))


def test_readme_is_a_start_for_newcomers() -> None:
    """The README names both commands and says that all is fictional and unaffiliated."""
    assert text_rules.readme(tracked_text()["README.md"]) == []


@pytest.mark.parametrize("missing", ["make run", "make test", "first_light", "affiliated"])
def test_readme_without_a_needed_word_is_named(missing: str) -> None:
    """Each thing that the README must say brings a complaint when it is gone."""
    assert text_rules.readme(GOOD_README) == []
    assert len(text_rules.readme(GOOD_README.replace(missing, ""))) == 1
    assert text_rules.readme(GOOD_README + "\n" * text_rules.README_LINES_MAX)


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in a tracked Markdown file names a tracked file or folder."""
    texts = tracked_text()
    complaints = [
        complaint
        for path, text in texts.items()
        if path.endswith(".md")
        for complaint in text_rules.broken_links(path, text, texts)
    ]
    assert not complaints, "\n".join(complaints)


def test_broken_link_is_named() -> None:
    """A link to a file that is not there brings a complaint; good ones, up and down, do not."""
    existing = ["README.md", "docs/a.md", "docs/adr/index.md"]
    good = "[a](a.md#part) [r](../README.md) [f](adr/) [w](https://x.example/y)"
    assert text_rules.broken_links("docs/b.md", good, existing) == []
    assert len(text_rules.broken_links("docs/b.md", "[c](gone.md)", existing)) == 1


def test_every_required_distribution_is_pinned() -> None:
    """constraints.txt pins all that the project, its tests and its build pull in."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    waiting = list(
        text_rules.requirement_names(
            [
                *project["build-system"]["requires"],
                *project["project"]["dependencies"],
                *project["project"]["optional-dependencies"]["dev"],
            ]
        )
    )
    required: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in required:
            required.add(name)
            waiting += text_rules.requirement_names(metadata.requires(name) or [])
    complaints = text_rules.unpinned(tracked_text()["constraints.txt"], required)
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    "constraints", ["", "b==1\n", "a>=1\na==1\n", "-r x\na==1\n", "a @ u\na==1"]
)
def test_missing_or_loose_pin_is_named(constraints: str) -> None:
    """A required distribution without an exact pin, or any other line, brings one complaint."""
    assert text_rules.unpinned("# note\nA==1.0\n", ["a"]) == []
    assert len(text_rules.unpinned(constraints, ["a"])) == 1


def test_requirement_of_another_platform_is_not_asked_for() -> None:
    """Markers decide: what only another platform or an unasked extra needs has no pin."""
    requirements = ["a", "b; sys_platform == 'nowhere'", "c; extra == 'fast'"]
    assert text_rules.requirement_names(requirements) == {"a"}
    assert text_rules.requirement_names(requirements, extras=["fast"]) == {"a", "c"}
