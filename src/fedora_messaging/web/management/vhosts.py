"""Virtual hosts and their limits."""

from typing import Any, Final

from ...broker.accounts import Permissions
from ...broker.core.vhost import VirtualHost
from .call import NO_CONTENT, Answer, Call, put_answer
from .errors import bad_request, not_found
from .lists import arrange
from .routes import NEW, Endpoint
from .statistics import deliveries, messages, publishing, stats_item, totals_of
from .users import permission_item, topic_permission_item


def vhost_item(call: Call, vhost: VirtualHost) -> dict[str, Any]:
    """Return a virtual host as lists show it."""
    totals = totals_of(call.server, vhost)
    about = {"description": vhost.description, "tags": list(vhost.tags)}
    return {
        "cluster_state": {call.server.node: "running"},
        "default_queue_type": vhost.default_queue_type,
        **about,
        **stats_item(call.rates, vhost, publishing(totals) | deliveries(totals)),
        **call.rates.with_details(vhost, messages(vhost.queues.values()), "messages"),
        "metadata": {**about, "default_queue_type": vhost.default_queue_type},
        "name": vhost.name,
        "protected_from_deletion": vhost.is_protected,
        "tracing": False,
    }


def list_vhosts(call: Call) -> Any:
    """List the virtual hosts that the user may look into."""
    return arrange(call.vhosts(everywhere="monitoring"), lambda vhost: vhost_item(call, vhost), call.query)


def get_vhost(call: Call) -> dict[str, Any]:
    """Show a virtual host."""
    call.show_samples()
    return vhost_item(call, call.vhost())


def put_vhost(call: Call) -> Answer:
    """Create a virtual host, or change one; who creates it gets all permissions."""
    name = call.path["vhost"]
    kind = call.body.get("default_queue_type", call.body.get("defaultqueuetype"))
    if kind is not None and not isinstance(kind, str):
        raise bad_request(["not_string", "default_queue_type"])
    is_new = call.admin.set_vhost(name, str(call.body.get("description", "")), call.tags(), kind)
    if is_new:
        call.admin.set_permissions(name, call.user.name, Permissions())
    return put_answer(is_new)


def delete_vhost(call: Call) -> Answer:
    """Delete a virtual host with all that is in it."""
    call.vhost()
    call.admin.delete_vhost(call.path["vhost"])
    return NO_CONTENT


def protect(call: Call) -> Answer:
    """Protect a virtual host from deletion."""
    call.admin.protect_vhost(call.vhost().name, True)
    return NO_CONTENT


def unprotect(call: Call) -> Answer:
    """Let a virtual host be deleted again."""
    call.admin.protect_vhost(call.vhost().name, False)
    return NO_CONTENT


def start(call: Call) -> Answer:
    """Start a virtual host on a node; here each runs, always."""
    vhost, node = call.path["vhost"], call.path["node"]
    failed = f"Request to node {node} failed with"
    if node != call.server.node:
        raise bad_request(f"{failed} nodedown" if call.is_old else f"Unknown node: {node}")
    if vhost not in call.server.vhosts:
        raise bad_request(f'{failed} {{no_such_vhost,<<"{vhost}">>}}')
    return NO_CONTENT


def list_permissions(call: Call) -> Any:
    """List the permissions of all users in a virtual host."""
    name = call.vhost().name
    users = sorted(call.server.accounts, key=lambda user: user.name)
    found = [user for user in users if name in user.permissions]
    return arrange(found, lambda user: permission_item(user, name), call.query, paged=False)


def list_topic_permissions(call: Call) -> Any:
    """List the topic permissions of all users in a virtual host."""
    name = call.vhost().name
    found = [
        topic_permission_item(user, key)
        for user in sorted(call.server.accounts, key=lambda user: user.name)
        for key in sorted(user.topic_permissions)
        if key[0] == name
    ]
    return arrange(found, lambda item: item, call.query, paged=False)


def list_limits(call: Call) -> list[dict[str, Any]]:
    """List the limits of virtual hosts."""
    seen = call.vhosts(everywhere="monitoring")
    return [{"vhost": vhost.name, "value": vhost.limits} for vhost in seen if vhost.limits]


def put_limit(call: Call) -> Answer:
    """Limit the connections or queues of a virtual host."""
    vhost = call.vhost(writes=True)
    call.need("value")
    call.admin.set_vhost_limit(vhost.name, call.path["limit"], call.body["value"])
    return NO_CONTENT


def delete_limit(call: Call) -> Answer:
    """Lift a limit of a virtual host."""
    if call.path["limit"] not in ("max-connections", "max-queues"):
        raise not_found()
    call.admin.set_vhost_limit(call.vhost().name, call.path["limit"], None)
    return NO_CONTENT


_ADMINISTRATOR: Final = "administrator"

ENDPOINTS: Final = (
    Endpoint("vhosts", {"GET": list_vhosts}),
    Endpoint("vhosts/{vhost}", {"GET": get_vhost, "PUT": put_vhost, "DELETE": delete_vhost}, _ADMINISTRATOR),
    Endpoint(
        "vhosts/{vhost}/deletion/protection",
        {"POST": protect, "DELETE": unprotect},
        _ADMINISTRATOR,
        profiles=NEW,
    ),
    Endpoint("vhosts/{vhost}/start/{node}", {"POST": start}, _ADMINISTRATOR),
    Endpoint("vhosts/{vhost}/permissions", {"GET": list_permissions}, _ADMINISTRATOR),
    Endpoint("vhosts/{vhost}/topic-permissions", {"GET": list_topic_permissions}, _ADMINISTRATOR),
    Endpoint("vhost-limits", {"GET": list_limits}),
    Endpoint("vhost-limits/{vhost}", {"GET": list_limits}),
    Endpoint("vhost-limits/{vhost}/{limit}", {"PUT": put_limit, "DELETE": delete_limit}, _ADMINISTRATOR),
)
