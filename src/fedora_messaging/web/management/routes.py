"""What the API can do: paths, methods, who may call them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .call import Call

#: Names of the profiles that have an endpoint which came, or went, between the two releases they imitate.
NEW: Final = frozenset({"4"})
OLD: Final = frozenset({"3"})

#: Carries out a request; what it returns becomes the JSON of the answer, unless it is an ``Answer``.
Handler = Callable[[Call], Any | Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path of the API.

    Attributes:
        path: Path below ``/api``, with variable parts in braces.
        methods: Handlers by HTTP method; their docstrings describe them in the OpenAPI document.
        tag: Tag that a user needs; ``None`` lets in everybody, without login.
        write_tags: Other tags for some methods.
        profiles: Names of the profiles of the broker that have it.
    """

    path: str
    methods: dict[str, Handler]
    tag: str | None = "management"
    write_tags: dict[str, str] = field(default_factory=dict)
    profiles: frozenset[str] = NEW | OLD

    def tag_for(self, method: str) -> str | None:
        """Return the tag that a user needs for a method."""
        return self.write_tags.get(method, self.tag)
