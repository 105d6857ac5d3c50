"""A password made to be found again, and the search for it (promise P23)."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Each is searched for, so that half a password is found too. Letters and digits only, so that no escaping
#: changes them.
PIECES: Final = ("Kanarie7391", "Vogelpiep4826")
#: With everything between them that has a meaning in URLs.
PASSWORD: Final = f"{PIECES[0]}/?#@:%é{PIECES[1]}"
#: The password as it belongs into a URL.
QUOTED: Final = quote(PASSWORD, safe="")
#: The same, needlessly: every byte is escaped.
ESCAPED: Final = "".join(f"%{byte:02X}" for byte in PASSWORD.encode())


def _base64(piece: str) -> Iterator[str]:
    """What base64 makes of the piece wherever it is in a longer text, less the ends that depend on that."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + piece.encode()).decode()
        bits = 8 * offset
        yield encoded[-(-bits // 6) : (bits + 8 * len(piece)) // 6]


def _forms(piece: str) -> Iterator[str]:
    raw = piece.encode()
    yield piece
    yield piece[::-1]
    yield raw.hex()
    yield "".join(f"%{byte:02x}" for byte in raw)
    yield "".join(f"\\x{byte:02x}" for byte in raw)
    yield "".join(f"\\u{byte:04x}" for byte in raw)
    yield "".join(f"&#{byte};" for byte in raw)
    yield from _base64(piece)


_FORMS: Final = tuple({form.lower() for piece in PIECES for form in _forms(piece)})


def leaks(text: str) -> list[str]:
    """Return the places of a text that tell the canary, in whatever form and case."""
    lower = text.lower()
    found = ((lower.find(form), len(form)) for form in _FORMS)
    return [text[max(0, at - 60) : at + size + 20] for at, size in found if at >= 0]


def told_by(error: BaseException) -> Iterator[str]:
    """Return all that an error, and what it says it was caused by, shows in some way."""
    yield "".join(traceback.format_exception(error))
    link: BaseException | None = error
    while link is not None:
        yield from (str(link), repr(link), repr(link.args), repr(vars(link)))
        try:
            yield pickle.dumps(link).decode("latin-1")
        except (pickle.PicklingError, TypeError, AttributeError):
            pass  # then nothing can be told by it
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


class Log(logging.Handler):
    """Keeps all that is logged, by whomever, and all that is in the records besides.

    Attributes:
        texts: What was logged.
        names: Names of the loggers that were used.
    """

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.texts.append(self.format(record))
        # Collectors of log records show their arguments too.
        self.texts.append(repr(vars(record)))
        if record.exc_info is not None and record.exc_info[1] is not None:
            self.texts.extend(told_by(record.exc_info[1]))


class Outputs:
    """Everything that came out during a test.

    Args:
        log: What is logged.
        streams: Returns what was written to standard output and error since the last call.

    Attributes:
        log: The same.
        judged: :meth:`assert_clean` was called.
    """

    def __init__(self, log: Log, streams: Callable[[], Iterable[str]]) -> None:
        self.log = log
        self.judged = False
        self._streams = streams
        self._texts: list[str] = []

    def add(self, *values: Any) -> None:
        """Note what was shown: bytes and errors in all ways, anything else by its repr, str and format."""
        for value in values:
            if isinstance(value, bytes):
                self._texts.append(value.decode("latin-1"))
            elif isinstance(value, BaseException):
                self._texts.extend(told_by(value))
            else:
                self._texts += [str(value), repr(value), f"{value}"]

    def leaks(self) -> list[str]:
        """Return what tells the canary."""
        self._texts += self._streams()
        return [leak for text in (*self._texts, *self.log.texts) for leak in leaks(text)]

    def assert_clean(self) -> None:
        """Nothing tells the canary."""
        self.judged = True
        found = self.leaks()
        assert not found, "the canary is told:\n" + "\n".join(found)
