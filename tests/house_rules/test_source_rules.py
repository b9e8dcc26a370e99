"""The house rules hold for every Python file, and each rule is shown a file that breaks it."""

from collections.abc import Callable

import pytest

from tests.house_rules import source_rules
from tests.house_rules.tracked_files import PACKAGES, python_sources

Rule = Callable[[str, str], list[str]]

EVERYWHERE = (*PACKAGES, "tests", "benchmarks", "docker")
RULES: list[tuple[Rule, tuple[str, ...]]] = [
    (source_rules.too_long, EVERYWHERE),
    (source_rules.no_module_docstring, EVERYWHERE),
    (source_rules.unfinished, EVERYWHERE),
    (source_rules.broad_except, EVERYWHERE),
    (source_rules.undocumented_test, ("tests",)),
    (source_rules.assertionless_test, ("tests",)),
    (source_rules.switched_off_test, ("tests",)),
]

# Forbidden words are put together here, so that this file passes the rules it tests.
SKIP = "@pytest.mark." + "skip"
BAD_SAMPLES: list[tuple[str, Rule, str]] = [
    ("file of 501 lines", source_rules.too_long, '"""M."""\n' + "X = 1\n" * 500),
    ("function of 71 lines", source_rules.too_long, "def f():\n" + "    x = 1\n" * 70),
    ("method of 71 lines", source_rules.too_long, "class C:\n  def f():\n" + "    x = 1\n" * 70),
    ("no module docstring", source_rules.no_module_docstring, "X = 1\n"),
    ("empty module docstring", source_rules.no_module_docstring, '""""""\n'),
    ("note to self", source_rules.unfinished, "# TO" + "DO: later\n"),
    ("stub", source_rules.unfinished, "def f():\n    raise NotImplemented" + "Error\n"),
    ("bare except", source_rules.broad_except, "try:\n    f()\nexcept:\n    g()\n"),
    ("except Exception", source_rules.broad_except, "try:\n    f()\nexcept Exception:\n    g()\n"),
    (
        "Exception in a tuple",
        source_rules.broad_except,
        "try:\n    f()\nexcept (OSError, BaseException) as e:\n    g()\n",
    ),
    ("test without docstring", source_rules.undocumented_test, "def test_a():\n    assert f()\n"),
    ("test without assertion", source_rules.assertionless_test, "def test_a():\n    f()\n"),
    (
        "async test method without assertion",
        source_rules.assertionless_test,
        "class TestA:\n    async def test_a(self):\n        await f()\n",
    ),
    ("skipped test", source_rules.switched_off_test, f"{SKIP}\ndef test_a(): ...\n"),
    ("expected failure", source_rules.switched_off_test, "pytest.mark." + "xfail(strict=True)\n"),
    ("skip in the body", source_rules.switched_off_test, "pytest." + "skip('later')\n"),
    ("optional import", source_rules.switched_off_test, "pytest.import" + "orskip('pika')\n"),
]

GOOD_TEST = '''
"""Module."""
def test_assert():
    """Shows it."""
    assert f()
def test_raises():
    """Shows it."""
    with pytest.raises(ValueError):
        f()
def test_helper():
    """Shows it."""
    assert_same(f(), g())
def openssl_accepts(file):
    assert run(file)
def test_local_helper():
    """Shows it."""
    openssl_accepts(f())
def test_handler():
    """Shows it."""
    try:
        check_equal(f(), g())
    except OSError:
        raise
'''


@pytest.mark.parametrize(
    ("rule", "folders"),
    [pytest.param(rule, folders, id=rule.__name__) for rule, folders in RULES],
)
def test_rule_holds_for_every_file(rule: Rule, folders: tuple[str, ...]) -> None:
    """No Python file of ours breaks the rule; a failure lists each place."""
    sources = python_sources(*folders)
    complaints = [complaint for path, text in sources.items() for complaint in rule(path, text)]
    assert sources
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("rule", "sample"),
    [pytest.param(rule, sample, id=name) for name, rule, sample in BAD_SAMPLES],
)
def test_bad_sample_is_named_with_its_path(rule: Rule, sample: str) -> None:
    """Each rule complains once about a sample that breaks it, and says where."""
    (complaint,) = rule("sample.py", sample)
    assert complaint.startswith("sample.py:")


def test_every_rule_has_a_bad_sample() -> None:
    """A rule that was never seen to complain proves nothing."""
    assert {rule for rule, _ in RULES} == {rule for _, rule, _ in BAD_SAMPLES}


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES], ids=lambda rule: rule.__name__)
def test_good_sample_passes(rule: Rule) -> None:
    """Ordinary tests with plain, raised and helped assertions give no complaint."""
    assert rule("sample.py", GOOD_TEST.lstrip()) == []


def test_reasons_are_given_for_broad_handlers() -> None:
    """An exemption names a file that exists and gives a reason."""
    sources = python_sources(*EVERYWHERE)
    for path, reason in source_rules.BROAD_EXCEPT_ALLOWED.items():
        assert path in sources
        assert reason.strip()
    assert source_rules.broad_except("any.py", "try: ...\nexcept: ...\n")
