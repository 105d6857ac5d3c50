"""Definitions: all that a broker is set up with, in RabbitMQ's JSON, so that it can move there and back.

An import adds and changes, but removes nothing; queues and exchanges that exist stay as they are.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..protocol.errors import NAMES, ChannelError, ConnectionError
from .accounts import Permissions, TopicPermissions
from .administration import AdministrationError, bad_request, policy_item
from .core.declarations import ExchangeDeclaration, QueueDeclaration
from .core.exchanges import Exchange
from .core.queue import Queue
from .core.vhost import VirtualHost
from .json_values import table_from_json, to_json
from .passwords import PasswordHash

if TYPE_CHECKING:
    from .server import Server

_Item = Mapping[str, Any]


def export_definitions(server: "Server", vhost: VirtualHost | None = None) -> dict[str, Any]:
    """Return the definitions of a broker, or those of one virtual host.

    Exclusive queues and the broker's own exchanges are left out, as RabbitMQ does.
    """
    version = server.profile.version
    about = {"rabbit_version": version, "rabbitmq_version": version, "product_name": "RabbitMQ"}
    if vhost is not None:
        policies = _policies([vhost])
        return {
            **about,
            "rabbitmq_definition_format": "single_virtual_host",
            "original_vhost_name": vhost.name,
            "description": vhost.description,
            "metadata": _metadata(vhost),
            "limits": vhost.limits,
            "parameters": _without_vhost(_parameters(server, [vhost])),
            "policies": policies if server.profile.name == "3" else _without_vhost(policies),
            "queues": _without_vhost(_queues([vhost])),
            "exchanges": _without_vhost(_exchanges([vhost])),
            "bindings": _without_vhost(_bindings([vhost])),
        }
    vhosts = [found for _, found in sorted(server.vhosts.items())]
    return {
        **about,
        "product_version": version,
        "rabbitmq_definition_format": "cluster",
        "original_cluster_name": server.administration.cluster_name,
        "users": _users(server),
        "vhosts": [
            {
                "name": found.name,
                "description": found.description,
                "tags": list(found.tags),
                "default_queue_type": found.default_queue_type,
                "metadata": _metadata(found),
                "limits": found.limits,
            }
            for found in vhosts
        ],
        "permissions": _permissions(server),
        "topic_permissions": _topic_permissions(server),
        "parameters": _parameters(server, vhosts),
        "global_parameters": [
            {"name": name, "value": value}
            for name, value in sorted(server.administration.global_parameters.items())
        ],
        "policies": _policies(vhosts),
        "queues": _queues(vhosts),
        "exchanges": _exchanges(vhosts),
        "bindings": _bindings(vhosts),
    }


def _without_vhost(items: Iterable[_Item]) -> list[dict[str, Any]]:
    return [{key: value for key, value in item.items() if key != "vhost"} for item in items]


def _metadata(vhost: VirtualHost) -> dict[str, Any]:
    return {
        "description": vhost.description,
        "tags": list(vhost.tags),
        "default_queue_type": vhost.default_queue_type,
    }


def _users(server: "Server") -> list[dict[str, Any]]:
    found = []
    for user in sorted(server.accounts, key=lambda user: user.name):
        password = user.password or PasswordHash()
        found.append(
            {
                "name": user.name,
                "password_hash": password.text,
                "hashing_algorithm": password.algorithm,
                "tags": list(user.tags),
                "limits": user.limits,
            }
        )
    return found


def _permissions(server: "Server") -> list[dict[str, Any]]:
    return [
        {
            "user": user.name,
            "vhost": vhost,
            "configure": permissions.configure,
            "write": permissions.write,
            "read": permissions.read,
        }
        for user in sorted(server.accounts, key=lambda user: user.name)
        for vhost, permissions in sorted(user.permissions.items())
        if vhost in server.vhosts
    ]


def _topic_permissions(server: "Server") -> list[dict[str, Any]]:
    return [
        {
            "user": user.name,
            "vhost": vhost,
            "exchange": exchange,
            "write": permissions.write,
            "read": permissions.read,
        }
        for user in sorted(server.accounts, key=lambda user: user.name)
        for (vhost, exchange), permissions in sorted(user.topic_permissions.items())
    ]


def _parameters(server: "Server", vhosts: list[VirtualHost]) -> list[dict[str, Any]]:
    names = {vhost.name for vhost in vhosts}
    return [item for item in server.administration.parameters() if item["vhost"] in names]


def _policies(vhosts: list[VirtualHost]) -> list[dict[str, Any]]:
    return [
        policy_item(vhost.name, policy)
        for vhost in vhosts
        for _, policy in sorted(vhost.policies.ordinary.items())
    ]


def _queues(vhosts: list[VirtualHost]) -> list[dict[str, Any]]:
    return [
        {
            "name": to_json(queue.name),
            "vhost": vhost.name,
            "durable": queue.durable,
            "auto_delete": queue.auto_delete,
            "arguments": to_json(queue.declared),
            "type": queue.arguments.queue_type,
        }
        for vhost in vhosts
        for _, queue in sorted(vhost.queues.items())
        if queue.owner is None
    ]


def _exchanges(vhosts: list[VirtualHost]) -> list[dict[str, Any]]:
    return [
        {
            "name": to_json(exchange.name),
            "vhost": vhost.name,
            "type": exchange.type,
            "durable": exchange.durable,
            "auto_delete": exchange.auto_delete,
            "internal": exchange.internal,
            "arguments": to_json(exchange.arguments),
        }
        for vhost in vhosts
        for name, exchange in sorted(vhost.exchanges.items())
        if name and not name.startswith("amq.")
    ]


def _bindings(vhosts: list[VirtualHost]) -> list[dict[str, Any]]:
    found = []
    for vhost in vhosts:
        for name, exchange in sorted(vhost.exchanges.items()):
            for binding in exchange.bindings.values():
                destination = binding.destination
                if not name or (isinstance(destination, Queue) and destination.owner is not None):
                    continue
                found.append(
                    {
                        "source": to_json(name),
                        "vhost": vhost.name,
                        "destination": to_json(destination.name),
                        "destination_type": destination.kind,
                        "routing_key": to_json(binding.routing_key),
                        "arguments": to_json(binding.arguments),
                    }
                )
    return found


def import_definitions(
    server: "Server", document: Any, vhost: VirtualHost | None = None, kept_users: Collection[str] = ()
) -> None:
    """Add what definitions hold to a broker, or to one virtual host.

    Args:
        server: The broker.
        document: The definitions.
        vhost: Where all of it goes, whatever the definitions say; users and the like are passed over then.
        kept_users: Users who stay as they are; the definitions can only let them into other virtual hosts.

    Raises:
        AdministrationError: Something is wrong with an item; those before it were added.
    """
    if not isinstance(document, Mapping):
        bad_request("failed_to_parse_json")
    importer = _Importer(server, kept_users)
    for section, add in _SECTIONS.items():
        items = document.get(section, [])
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            bad_request(f"the section {section} of the definitions must be a list of objects")
        if vhost is None:
            for item in items:
                importer.add(section, add, item)
        elif section in _OF_VHOSTS:
            for item in items:
                importer.add(section, add, {**item, "vhost": vhost.name})


class _Importer:
    """Adds items of definitions to a broker."""

    def __init__(self, server: "Server", kept_users: Collection[str]) -> None:
        self._server = server
        self._admin = server.administration
        self._kept_users = kept_users

    def add(self, section: str, add: "Callable[[_Importer, _Item], None]", item: _Item) -> None:
        """Add one item; errors name it, but show no value of it, which may be a password."""
        try:
            add(self, _checked(item, section in _ON_THE_WIRE))
        except KeyError as error:
            bad_request(f'"{error.args[0]}" is missing{_place(section, item)}')
        except (ChannelError, ConnectionError) as error:
            bad_request(f"{NAMES[error.reply_code].lower()}: {error.explanation}{_place(section, item)}")
        except AdministrationError as error:
            raise AdministrationError(error.error, f"{error.reason}{_place(section, item)}") from error

    def user(self, item: _Item) -> None:
        """Add a user."""
        tags, limits = _tags(item["tags"]), _limits(item)
        if item["name"] in self._kept_users:
            return
        hashed = item.get("password_hash")
        password: PasswordHash | None
        if hashed:
            algorithm = item.get("hashing_algorithm") or "rabbit_password_hashing_sha256"
            try:
                password = PasswordHash.parse(hashed, algorithm)
            except ValueError as error:
                bad_request(f"the password_hash cannot be used: {error}")
        else:
            given = item.get("password")
            password = PasswordHash.of(given) if given is not None else None
        self._admin.set_user(item["name"], password, tags)
        for limit, value in limits.items():
            self._admin.set_user_limit(item["name"], limit, value)

    def vhost(self, item: _Item) -> None:
        """Add a virtual host."""
        about = _checked({**item, **(item.get("metadata") or {})})
        tags, limits = _tags(about.get("tags")), _limits(item)
        kind = about.get("default_queue_type")
        self._admin.set_vhost(
            item["name"],
            about.get("description") or "",
            tags,
            None if kind in (None, "undefined") else kind,
        )
        for limit, value in limits.items():
            self._admin.set_vhost_limit(item["name"], limit, value)

    def permission(self, item: _Item) -> None:
        """Give a user access to a virtual host."""
        permissions = Permissions(item["configure"], item["write"], item["read"])
        vhost, name = item["vhost"], item["user"]
        user = self._server.accounts.user(name)
        if name not in self._kept_users or user is None or vhost not in user.permissions:
            self._admin.set_permissions(vhost, name, permissions)

    def topic_permission(self, item: _Item) -> None:
        """Limit the routing keys of a user."""
        permissions = TopicPermissions(item["write"], item["read"])
        self._admin.set_topic_permissions(item["vhost"], item["user"], item["exchange"], permissions)

    def parameter(self, item: _Item) -> None:
        """Set a parameter."""
        self._vhost_of(item)
        self._admin.set_parameter(item["component"], item["vhost"], item["name"], item["value"])

    def global_parameter(self, item: _Item) -> None:
        """Set a global parameter."""
        self._admin.set_global_parameter(item["name"], item["value"])

    def policy(self, item: _Item) -> None:
        """Set a policy."""
        self._vhost_of(item)
        self._admin.set_policy(item["vhost"], item["name"], item, operator=False)

    def exchange(self, item: _Item) -> None:
        """Declare an exchange, unless there is one of this name."""
        vhost, name = self._vhost_of(item), item["name"]
        if name in vhost.exchanges or not name or name.startswith("amq."):
            return
        declared = ExchangeDeclaration(
            name,
            item.get("type", "direct"),
            item.get("durable", True),
            item.get("auto_delete", False),
            item.get("internal", False),
            table_from_json(item.get("arguments", {})),
        )
        vhost.declare_exchange(declared)

    def queue(self, item: _Item) -> None:
        """Declare a queue, unless there is one of this name."""
        vhost, name = self._vhost_of(item), item["name"]
        if name in vhost.queues:
            return
        arguments = table_from_json(item.get("arguments", {}))
        kind = item.get("type", vhost.default_queue_type)
        # The default type is no argument of the queue's own.
        if "type" in item and (kind != vhost.default_queue_type or vhost.profile.names_default_type):
            arguments.setdefault("x-queue-type", kind)
        # Queues whose names a broker chose keep them.
        chosen = name if name.startswith("amq.") else None
        declared = QueueDeclaration(
            "" if chosen else name,
            durable=item.get("durable", True),
            auto_delete=item.get("auto_delete", False),
            arguments=arguments,
        )
        vhost.declare_queue(declared, None, chosen)

    def binding(self, item: _Item) -> None:
        """Make a binding."""
        vhost = self._vhost_of(item)
        kind = item["destination_type"]
        if kind not in (Queue.kind, Exchange.kind):
            bad_request(f'destination_type should be "queue" or "exchange", not "{kind}"')
        is_queue = kind == Queue.kind
        find = vhost.queue if is_queue else vhost.exchange
        destination = find(item["destination"])
        vhost.bind(
            item["source"],
            destination,
            item.get("routing_key", ""),
            table_from_json(item.get("arguments", {})),
        )

    def _vhost_of(self, item: _Item) -> VirtualHost:
        name = item["vhost"]
        vhost = self._server.vhosts.get(name)
        if vhost is None:
            raise AdministrationError(
                "bad_request", f'Please create virtual host "{name}" prior to importing definitions.'
            )
        return vhost


#: What the values of some keys must be, in any section.
_TYPES: Final[dict[str, tuple[type, str]]] = {
    **dict.fromkeys(
        ("name", "vhost", "user", "exchange", "component", "source", "destination", "destination_type"),
        (str, "a string"),
    ),
    **dict.fromkeys(
        ("routing_key", "type", "configure", "write", "read", "description", "default_queue_type"),
        (str, "a string"),
    ),
    **dict.fromkeys(("password", "password_hash", "hashing_algorithm"), (str, "a string")),
    **dict.fromkeys(("durable", "auto_delete", "internal"), (bool, "true or false")),
    **dict.fromkeys(("definition", "metadata"), (Mapping, "an object")),
}
#: Keys that say which item one is.
_NAMES: Final = ("vhost", "user", "exchange", "component", "source", "destination", "routing_key", "name")
#: Most bytes that a name can have on the wire.
_LONGEST: Final = 255


def _checked(item: _Item, is_short: bool = False) -> dict[str, Any]:
    """Return an item without those keys that are null, all others having a value of the right type.

    Args:
        item: The item.
        is_short: Whether its names must fit into AMQP's methods.
    """
    checked = {key: value for key, value in item.items() if value is not None or key not in _TYPES}
    for key, value in checked.items():
        kind, what = _TYPES.get(key, (object, ""))
        if not isinstance(value, kind):
            bad_request(f'"{key}" must be {what}')
        if isinstance(value, str) and key in _NAMES:
            _check_name(key, value, is_short)
    return checked


def _check_name(key: str, name: str, is_short: bool) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        bad_request(f'"{key}" is not Unicode text')
    if is_short and size > _LONGEST:
        bad_request(f'"{key}" should be less than {_LONGEST} bytes, actually was {size}')


def _tags(value: Any) -> list[str]:
    if isinstance(value, str):
        return [tag.strip() for tag in value.split(",") if tag.strip()]
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        bad_request('"tags" must be a list of strings, or one string with commas')
    return value


def _limits(item: _Item) -> Mapping[str, Any]:
    limits = item.get("limits") or {}  # RabbitMQ may write no limits as an empty list
    return limits if isinstance(limits, Mapping) else bad_request('"limits" must be an object')


def _place(section: str, item: _Item) -> str:
    """Say which item of definitions an error is about."""
    names = [f'{key} "{item[key]}"' for key in _NAMES if isinstance(item.get(key), str)]
    return f" ({': '.join([section, ', '.join(names)] if names else [section])})"


#: How the items of each section are added; in this order, because later ones refer to earlier ones.
_SECTIONS: Final[dict[str, Callable[[_Importer, _Item], None]]] = {
    "users": _Importer.user,
    "vhosts": _Importer.vhost,
    "permissions": _Importer.permission,
    "topic_permissions": _Importer.topic_permission,
    "parameters": _Importer.parameter,
    "global_parameters": _Importer.global_parameter,
    "policies": _Importer.policy,
    "exchanges": _Importer.exchange,
    "queues": _Importer.queue,
    "bindings": _Importer.binding,
}
#: The sections whose names AMQP carries.
_ON_THE_WIRE: Final = frozenset({"exchanges", "queues", "bindings"})
_OF_VHOSTS: Final = frozenset({"parameters", "policies", "exchanges", "queues", "bindings"})
