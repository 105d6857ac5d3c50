"""Showing text from elsewhere to people: the one place where it is made harmless (promise P22)."""

from typing import Final

#: Longest piece of a message that is shown in a log line or an error.
LIMIT: Final = 300


def explained(error: BaseException) -> str:
    """Return an error as one line, with the notes that were added to it (PEP 678)."""
    return printable(error) + notes_of(error)


def notes_of(error: BaseException) -> str:
    """Return the notes, each after a semicolon."""
    return "".join(f"; {printable(note)}" for note in getattr(error, "__notes__", ()))


def printable(value: object, limit: int = LIMIT) -> str:
    r"""Return a value as one line that is safe in logs and on terminals.

    Line ends, control characters (C0 and C1), direction marks and lone surrogates become escapes like
    ``\x1b``; what is longer than ``limit`` characters is cut.
    """
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:  # somebody else's __str__
        text = f"<{type(value).__name__} that cannot be shown>"
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text)} characters)"
    return escaped(text)


def escaped(text: str) -> str:
    r"""Return a text with escapes like ``\x1b`` in place of whatever is not printable."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )
