"""Server-sent events, read as browsers read them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)


@dataclass(frozen=True)
class Event:
    """An event that a browser hands to its script.

    Attributes:
        kind: The name of the event.
        data: The lines of its data.
        id: The last id that the browser has seen with it.
    """

    kind: str
    data: str
    id: str

    @property
    def value(self) -> Any:
        """The data, which is JSON."""
        return orjson.loads(self.data)


class EventReader:
    """Turns the bytes of a stream into events.

    Attributes:
        last_id: What the browser sends as ``Last-Event-ID`` when it comes back.
    """

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self._rest = b""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take some bytes, and yield the events that they complete."""
        *lines, self._rest = _LINE_END.split(self._rest + data)
        for line in lines:
            if line:
                self._field(line.decode())
            elif self._data:
                yield Event(self._kind or "message", "\n".join(self._data), self.last_id)
                self._kind, self._data = "", []
            else:
                self._kind = ""

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self.last_id = value
