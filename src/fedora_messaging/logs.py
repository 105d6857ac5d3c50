"""Loggers whose lines no peer can forge or flood (promise P22)."""

import logging
from typing import Any, Final

from .printable import escaped

#: Names by which programs of version 3.9 configure the log, although the code now lives elsewhere.
API: Final = "fedora_messaging.api"
CLI: Final = "fedora_messaging.cli"
CONFIG: Final = "fedora_messaging.config"
CONSUMER: Final = "fedora_messaging.twisted.consumer"

#: Lines per second that one place in the code may log of what a peer can repeat.
LIMIT: Final = 5

_MARK: Final = "fedora_messaging_repeatable"
#: Given as ``extra`` to a call of a logger: a peer can repeat this at will.
REPEATABLE: Final[dict[str, Any]] = {_MARK: True}


class _Guard(logging.Filter):
    """Escapes what is not printable in lines, and leaves out what is repeated too often."""

    def __init__(self) -> None:
        super().__init__()
        # For each text, which stands in our code: when its second began, the lines in it, those left out.
        self._seconds: dict[tuple[str, str], tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is to be logged."""
        if record.__dict__.pop(_MARK, False) and not self._is_seldom(record):
            return False
        try:
            line = record.getMessage()
        except Exception:  # somebody else's __repr__, which handlers tell of
            return True
        if not line.isprintable():
            record.msg, record.args = escaped(line), ()
        return True

    def _is_seldom(self, record: logging.LogRecord) -> bool:
        key = (record.name, str(record.msg))
        began, lines, left_out = self._seconds.get(key, (0.0, 0, 0))
        # The clock of records may be set back.
        if not 0.0 <= record.created - began < 1.0:
            began, lines = record.created, 0
        lines += 1
        if lines > LIMIT:
            self._seconds[key] = (began, lines, left_out + 1)
            return False
        self._seconds[key] = (began, lines, 0)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} lines like this one were left out before it)"
            record.args = ()
        return True


_guard = _Guard()


def logger(name: str) -> logging.Logger:
    """Return the logger of a name, guarded."""
    log = logging.getLogger(name)
    log.addFilter(_guard)
    return log
