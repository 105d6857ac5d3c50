"""Names in the file: AMQP's names need not be UTF-8, but SQLite's texts must be."""


def stored_name(name: str) -> str | bytes:
    """Convert a name to the value to store."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape")
    return name


def read_name(name: str | bytes) -> str:
    """Convert a stored value back to the name."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
