"""jsonschema-rs, if it is installed, imported when a schema is first compiled.

Its import takes a fifth of the time in which a whole program starts.
"""

from functools import cache
from types import ModuleType

from ..forking import setting_up


@cache
def library() -> ModuleType | None:
    """Return the module; ``None`` where it is missing, as in some Linux distributions."""
    with setting_up:
        try:
            import jsonschema_rs
        except ImportError:
            return None
        return jsonschema_rs
