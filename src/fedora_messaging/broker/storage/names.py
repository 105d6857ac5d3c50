"""Names in the file: they need not be UTF-8, which SQLite's text must be."""


def stored_name(name: str) -> str | bytes:
    """Return a name as it is stored."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape")
    return name


def read_name(name: str | bytes) -> str:
    """Return a name that was stored."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
