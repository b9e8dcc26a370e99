"""The house rules about Python files. Each takes a path and its text and returns complaints."""

import ast
import re
from collections.abc import Container, Iterator
from typing import Final

FILE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 70

BROAD_EXCEPT_ALLOWED: Final[dict[str, str]] = {
    "bus/participant.py": "a message that no handler foresaw is logged and goes back to its queue",
    "console/cli.py": "an error that nobody foresaw must not end with the exit code of a verdict",
}
"""Path to the reason why a handler there may catch everything."""

UNFINISHED: Final = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X]|NotImplementedErro[r])\b")
"""Notes to self and stubs, spelled so that this line is none of them."""

_ASSERTING_PREFIXES: Final = ("assert_", "check_")
_ASSERTING_PYTEST: Final = frozenset({"raises", "warns", "fail"})
_FORBIDDEN_MARKS: Final = frozenset({"skip", "skipif", "xfail", "importorskip"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


def too_long(path: str, text: str) -> list[str]:
    """Complain about a file or function that no longer fits a reader's head."""
    lines = len(text.splitlines())
    complaints = []
    if lines > FILE_LINES_MAX:
        complaints.append(f"{path}: {lines} lines, the limit is {FILE_LINES_MAX}")
    for function in _functions(text):
        length = _last_line(function) - function.lineno + 1
        if length > FUNCTION_LINES_MAX:
            complaints.append(
                f"{path}:{function.lineno}: {function.name} has {length} lines, "
                f"the limit is {FUNCTION_LINES_MAX}"
            )
    return complaints


def no_module_docstring(path: str, text: str) -> list[str]:
    """Complain about a module that does not say what it is for."""
    return [] if ast.get_docstring(ast.parse(text)) else [f"{path}: no module docstring"]


def unfinished(path: str, text: str) -> list[str]:
    """Complain about notes to self and stubs."""
    return [
        f"{path}:{number}: unfinished: {line.strip()}"
        for number, line in enumerate(text.splitlines(), start=1)
        if UNFINISHED.search(line)
    ]


def broad_except(path: str, text: str) -> list[str]:
    """Complain about a handler that catches everything, outside the reasoned list."""
    if path in BROAD_EXCEPT_ALLOWED:
        return []
    return [
        f"{path}:{node.lineno}: catches everything; name what can fail"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node.type)
    ]


def undocumented_test(path: str, text: str) -> list[str]:
    """Complain about a test that has no sentence saying what it shows."""
    return [
        f"{path}:{function.lineno}: {function.name} has no docstring"
        for function in _tests(text)
        if not ast.get_docstring(function)
    ]


def assertionless_test(path: str, text: str) -> list[str]:
    """Complain about a test that can only fail by accident."""
    helpers = {function.name for function in _functions(text) if _asserts(function, frozenset())}
    return [
        f"{path}:{function.lineno}: {function.name} asserts nothing"
        for function in _tests(text)
        if not _asserts(function, helpers)
    ]


def switched_off_test(path: str, text: str) -> list[str]:
    """Complain about tests that are skipped or expected to fail."""
    return [
        f"{path}:{node.lineno}: {node.attr}: a test runs and passes, or it goes"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and node.attr in _FORBIDDEN_MARKS
        and _root_name(node) == "pytest"
    ]


def _functions(text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            yield node


def _tests(text: str) -> Iterator[Function]:
    return (function for function in _functions(text) if function.name.startswith("test_"))


def _last_line(function: Function) -> int:
    return function.end_lineno or function.lineno


def _catches_everything(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    if isinstance(caught, ast.Tuple):
        return any(_catches_everything(element) for element in caught.elts)
    return isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"}


def _asserts(function: Function, helpers: Container[str]) -> bool:
    return any(_is_assertion(node, helpers) for node in ast.walk(function))


def _is_assertion(node: ast.AST, helpers: Container[str]) -> bool:
    """Tell an assert, a pytest assertion, or a call of a helper that asserts by name or by deed."""
    if isinstance(node, ast.Assert):
        return True
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Attribute):
        by_pytest = called.attr in _ASSERTING_PYTEST and _root_name(called) == "pytest"
        return by_pytest or called.attr in helpers or called.attr.startswith(_ASSERTING_PREFIXES)
    return isinstance(called, ast.Name) and (
        called.id in helpers or called.id.startswith(_ASSERTING_PREFIXES)
    )


def _root_name(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
