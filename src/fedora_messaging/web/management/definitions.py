"""Definitions: export and import all that the broker is set up with."""

from typing import Any, Final
from urllib.parse import quote

from ...broker.definitions import export_definitions, import_definitions
from .call import NO_CONTENT, Answer, Call
from .errors import RequestError, bad_request, not_found
from .routes import Endpoint

#: Types of bodies with definitions.
_UPLOADS: Final = frozenset({"application/json", "multipart/form-data"})
#: What the name of a file may have, beside letters and digits; at others its header could end.
_IN_FILE_NAMES: Final = "!#$&+-.^_@~"


def export_all(call: Call) -> Any:
    """Export the definitions of the broker."""
    return _exported(call, export_definitions(call.server))


def _exported(call: Call, definitions: dict[str, Any]) -> Any:
    """Return definitions, as a file if the request names one."""
    name = call.query.get("download")
    if not name:
        return definitions
    disposition = f"attachment; filename={quote(name, safe=_IN_FILE_NAMES)}"
    return Answer(200, {"content-disposition": disposition}, definitions)


async def import_all(call: Call) -> Answer:
    """Import definitions."""
    import_definitions(call.server, _uploaded(call))
    for vhost in list(call.server.vhosts.values()):
        await call.server.durable(vhost)
    return NO_CONTENT


def _uploaded(call: Call) -> dict[str, Any]:
    """Return the definitions in the body."""
    if call.content_type not in _UPLOADS:
        raise RequestError(415)
    return call.upload


def export_vhost(call: Call) -> Any:
    """Export the definitions of a virtual host."""
    vhost = call.server.vhosts.get(call.path["vhost"])
    if vhost is None:
        raise bad_request("vhost_not_found")
    return _exported(call, export_definitions(call.server, vhost))


async def import_vhost(call: Call) -> Answer:
    """Import definitions into a virtual host."""
    vhost = call.server.vhosts.get(call.path["vhost"])
    if vhost is None:
        raise not_found("vhost_not_found")
    import_definitions(call.server, _uploaded(call), vhost)
    await call.server.durable(vhost)
    return NO_CONTENT


ENDPOINTS: Final = (
    Endpoint("definitions", {"GET": export_all, "POST": import_all}, "administrator"),
    Endpoint("definitions/{vhost}", {"GET": export_vhost, "POST": import_vhost}, "administrator"),
    Endpoint("all-configuration", {"GET": export_all, "POST": import_all}, "administrator"),
)
