"""Matching routing keys against topic patterns."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class _Node(Generic[Value]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Value]] = {}
        self.values: dict[Value, None] = {}


def _words(key: str) -> list[str]:
    # An empty key has no words at all, but an empty text between two dots is a word.
    return key.split(".") if key else []


def _uncounted(_steps: int) -> None:
    """Let the search go on."""


class TopicTrie(Generic[Value]):
    """Patterns of words with ``*`` (one word) and ``#`` (any number of words, also none).

    Matching walks all branches at once, word by word. Its cost grows with the number of nodes that still
    match, not with the number of patterns, and never exponentially, however many ``#`` there are.
    """

    def __init__(self) -> None:
        self._root: _Node[Value] = _Node()

    def add(self, pattern: str, value: Value) -> None:
        """Add a value under a pattern."""
        node = self._root
        for word in _words(pattern):
            node = node.children.setdefault(word, _Node())
        node.values[value] = None

    def remove(self, pattern: str, value: Value) -> None:
        """Remove a value, and branches that have become empty."""
        path = [self._root]
        words = _words(pattern)
        for word in words:
            path.append(path[-1].children[word])
        del path[-1].values[value]
        for parent, word in zip(reversed(path[:-1]), reversed(words), strict=True):
            node = parent.children[word]
            if node.children or node.values:
                break
            del parent.children[word]

    def match(self, key: str, count: Callable[[int], None] = _uncounted) -> Iterator[Value]:
        """Return the values of all patterns that match, once for each pattern.

        Args:
            key: The routing key.
            count: Called with the number of nodes to look at; may raise an exception to end the search.
        """
        # The nodes that match so far, in order of discovery; the flag says that a node was reached by `#`,
        # which may match further words.
        alive: dict[_Node[Value], bool] = {}
        self._enter(alive, self._root, False)
        for word in _words(key):
            count(len(alive))
            below: dict[_Node[Value], bool] = {}
            for node, is_hash in alive.items():
                if is_hash:
                    self._enter(below, node, True)
                child = node.children.get(word)
                if child is not None and word not in ("*", "#"):
                    self._enter(below, child, False)
                child = node.children.get("*")
                if child is not None:
                    self._enter(below, child, False)
            alive = below
        for node in alive:
            yield from node.values

    def _enter(self, alive: dict[_Node[Value], bool], node: _Node[Value], is_hash: bool) -> None:
        while node not in alive:
            alive[node] = is_hash
            child = node.children.get("#")
            if child is None:
                return
            node, is_hash = child, True
