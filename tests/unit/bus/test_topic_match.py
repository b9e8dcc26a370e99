"""Topic matching agrees with the plain definition of `*` and `#`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.transport.topic_match import TopicIndex, words_of

KEY_WORDS = st.sampled_from(["a", "b", "", "aa", "*", "#"])
BINDING_WORDS = st.sampled_from(["a", "b", "", "*", "#"])


def matches_naively(binding: list[str], key: list[str]) -> bool:
    """Tell by the definition alone whether a key's words fit a binding's."""
    if not binding:
        return not key
    first, rest = binding[0], binding[1:]
    if first == "#":
        return any(matches_naively(rest, key[skipped:]) for skipped in range(len(key) + 1))
    return bool(key) and first in ("*", key[0]) and matches_naively(rest, key[1:])


def found(bindings: list[str], key: str) -> list[str]:
    """Return the bindings that an index finds for a key."""
    index: TopicIndex[str] = TopicIndex()
    for binding in bindings:
        index.bind(binding, binding)
    return index.matches(key)


CASES = [
    ("one word for a star", "*.*.XB", "XA.diffusion.XB", True),
    ("two words for a star", "*.XB", "XA.diffusion.XB", False),
    ("no word for a star", "*.XB", "XB", False),
    ("an empty word for a star", "*.XB", ".XB", True),
    ("no word for a hash", "#.XB", "XB", True),
    ("many words for a hash", "#.XB", "a.b.c.XB", True),
    ("hash alone, no word", "#", "", True),
    ("hash alone, words", "#", "a.b", True),
    ("hash in the middle, none", "a.#.b", "a.b", True),
    ("hash in the middle, some", "a.#.b", "a.x.y.b", True),
    ("two hashes", "#.a.#", "x.a.y", True),
    ("two hashes, no match", "#.a.#", "x.b.y", False),
    ("hash and star want one", "#.*", "", False),
    ("prefix is no match", "a.b", "a.b.c", False),
    ("empty binding, empty key", "", "", True),
    ("empty binding, a word", "", "a", False),
    ("a star in the key is a word", "a", "*", False),
]


@pytest.mark.parametrize(
    ("binding", "key", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_named_case_matches_as_it_should(binding: str, key: str, *, expected: bool) -> None:
    """The cases that are easily got wrong, zero words for a hash among them."""
    assert bool(found([binding], key)) is expected


@given(st.lists(st.lists(BINDING_WORDS, max_size=5), max_size=6), st.lists(KEY_WORDS, max_size=6))
def test_index_agrees_with_the_definition(bindings: list[list[str]], key: list[str]) -> None:
    """Whatever is bound, an index finds just the bindings that match, and each once."""
    keys = list(dict.fromkeys(".".join(words) for words in bindings))
    text = ".".join(key)
    expected = {each for each in keys if matches_naively(words_of(each), words_of(text))}
    matching = found(keys, text)
    assert set(matching) == expected
    assert len(matching) == len(expected)


def test_destination_bound_twice_is_found_once() -> None:
    """Two bindings of one queue deliver one copy."""
    index: TopicIndex[str] = TopicIndex()
    index.bind("a.#", "queue")
    index.bind("#.b", "queue")
    assert index.matches("a.b") == ["queue"]
