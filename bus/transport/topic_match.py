"""Topic matching as RabbitMQ does it: `*` stands for one word, `#` for any number, none included.

Words are separated by dots. The empty key has no word at all; everywhere else an empty word counts.
"""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

_ONE_WORD: Final = "*"
_ANY_WORDS: Final = "#"

Destination = TypeVar("Destination")


class _Branch(Generic[Destination]):
    """What follows one word of a binding key; the destinations end here."""

    __slots__ = ("branches", "destinations")

    def __init__(self) -> None:
        self.branches: dict[str, _Branch[Destination]] = {}
        self.destinations: list[Destination] = []


class TopicIndex(Generic[Destination]):
    """The bindings of one topic exchange, as a tree of words: a look-up costs the key's length.

    A member more does not make a look-up slower, which a list of patterns would.
    """

    def __init__(self) -> None:
        self._root: _Branch[Destination] = _Branch()

    def bind(self, binding_key: str, destination: Destination) -> None:
        """Send what matches `binding_key` to `destination`."""
        branch = self._root
        for word in words_of(binding_key):
            branch = branch.branches.setdefault(word, _Branch())
        branch.destinations.append(destination)

    def matches(self, routing_key: str) -> list[Destination]:
        """Return each destination whose binding matches, once, in the order of a walk."""
        return list(dict.fromkeys(_walk(self._root, words_of(routing_key), 0)))


def words_of(key: str) -> list[str]:
    """Return the words of a binding or routing key."""
    return key.split(".") if key else []


def _walk(branch: _Branch[Destination], words: list[str], start: int) -> Iterator[Destination]:
    rest = branch.branches.get(_ANY_WORDS)
    if rest is not None:
        for position in range(start, len(words) + 1):
            yield from _walk(rest, words, position)
    if start == len(words):
        yield from branch.destinations
        return
    for word in dict.fromkeys((words[start], _ONE_WORD)):
        following = branch.branches.get(word)
        # A routing key may contain the letter "#"; as a word of it, it is no wildcard.
        if following is not None and (word != _ANY_WORDS):
            yield from _walk(following, words, start + 1)
