"""Definitions: export and import all that the broker is set up with."""

from typing import Any, Final

from ...broker.definitions import export_definitions, import_definitions
from .call import NO_CONTENT, Answer, Call
from .errors import bad_request, not_found
from .routes import Endpoint


def export_all(call: Call) -> Any:
    """Export the definitions of the broker."""
    return export_definitions(call.server)


async def import_all(call: Call) -> Answer:
    """Import definitions."""
    import_definitions(call.server, call.body)
    for vhost in list(call.server.vhosts.values()):
        await call.server.durable(vhost)
    return NO_CONTENT


def export_vhost(call: Call) -> Any:
    """Export the definitions of a virtual host."""
    vhost = call.server.vhosts.get(call.path["vhost"])
    if vhost is None:
        raise bad_request("vhost_not_found")
    return export_definitions(call.server, vhost)


async def import_vhost(call: Call) -> Answer:
    """Import definitions into a virtual host."""
    vhost = call.server.vhosts.get(call.path["vhost"])
    if vhost is None:
        raise not_found("vhost_not_found")
    import_definitions(call.server, call.body, vhost)
    await call.server.durable(vhost)
    return NO_CONTENT


ENDPOINTS: Final = (
    Endpoint("definitions", {"GET": export_all, "POST": import_all}, "administrator"),
    Endpoint("definitions/{vhost}", {"GET": export_vhost, "POST": import_vhost}, "administrator"),
    Endpoint("all-configuration", {"GET": export_all, "POST": import_all}, "administrator"),
)
