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
        # Its first check of a value imports more modules, under a lock of its own. A child of a fork at that
        # moment would wait for that lock for ever, so the first check happens here.
        jsonschema_rs.is_valid(True, None)
        return jsonschema_rs
