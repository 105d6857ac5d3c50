"""What an administrator does to a running broker: virtual hosts, users, permissions, policies, limits.

Each change is stored, if the broker has a data directory, in the form of RabbitMQ's definitions.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from .accounts import Permissions, TopicPermissions, User
from .core.policies import Policy, PolicyError, make_policy
from .core.queue_arguments import QUEUE_TYPES
from .core.vhost import VirtualHost
from .passwords import PasswordHash

if TYPE_CHECKING:
    from .server import Server

VHOST_LIMITS: Final = ("max-connections", "max-queues")
USER_LIMITS: Final = ("max-connections", "max-channels")
OPERATOR_POLICY: Final = "operator_policy"
_LIMITS_COMPONENT: Final = "vhost-limits"
#: Sections of the stored definitions whose keys begin with a virtual host, and those that name a user next.
_IN_VHOSTS: Final = ("permissions", "topic_permissions", "policies", "operator_policies")
_OF_USERS: Final = ("permissions", "topic_permissions")

Reason = Literal["bad_request", "not_found", "precondition_failed"]


class AdministrationError(Exception):
    """An order cannot be carried out.

    Attributes:
        error: The kind of mistake, as the HTTP API names it.
        reason: What is wrong, in RabbitMQ's words where it has some.
    """

    def __init__(self, error: Reason, reason: str) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason


def bad_request(reason: str) -> NoReturn:
    """Refuse an order that is wrong in itself.

    Raises:
        AdministrationError: Always.
    """
    raise AdministrationError("bad_request", reason)


def not_found(reason: str) -> NoReturn:
    """Refuse an order for something that does not exist.

    Raises:
        AdministrationError: Always.
    """
    raise AdministrationError("not_found", reason)


class Administration:
    """Carries out the orders of administrators, in the thread of the broker's event loop.

    Args:
        server: The broker.
        save: Stores a definition: its section, its key, and its JSON or ``None`` to delete it.
        default_users: Users whom a new broker has: they are stored when one of them changes.

    Attributes:
        global_parameters: Values that the broker keeps for others, by name.
    """

    def __init__(
        self,
        server: "Server",
        save: Callable[[str, str, str | None], None] | None,
        default_users: Collection[str] = (),
    ) -> None:
        self._server = server
        self._save = save
        self._default_users = default_users
        self._stored: set[tuple[str, tuple[str, ...]]] = set()
        self.global_parameters: dict[str, Any] = {}

    def _store(self, section: str, key: Iterable[str], item: Mapping[str, Any] | None) -> None:
        if self._save is None:
            return
        key = tuple(key)
        if item is None:
            self._stored.discard((section, key))
        else:
            self._stored.add((section, key))
        self._save(section, json.dumps(key), None if item is None else json.dumps(item))

    def _drop(self, sections: Iterable[str], position: int, name: str) -> None:
        """Delete what is stored about a virtual host or user, also of users who are not there at present."""
        for section, key in sorted(self._stored):
            if section in sections and key[position] == name:
                self._store(section, key, None)

    def note_stored(self, section: str, key: Iterable[str]) -> None:
        """Note that a definition is stored already."""
        self._stored.add((section, tuple(key)))

    def restore(self, section: str, value: str) -> None:
        """Take back a definition that was stored."""
        save, self._save = self._save, None
        try:
            _RESTORE[section](self, json.loads(value))
        finally:
            self._save = save

    # Virtual hosts

    def vhost(self, name: str) -> VirtualHost:
        """Return a virtual host.

        Raises:
            AdministrationError: It does not exist.
        """
        vhost = self._server.vhosts.get(name)
        return vhost if vhost is not None else not_found("vhost_not_found")

    def set_vhost(
        self,
        name: str,
        description: str = "",
        tags: Iterable[str] = (),
        default_queue_type: str | None = None,
    ) -> bool:
        """Create a virtual host, or change one; returns whether it is new.

        Raises:
            AdministrationError: The queue type does not exist.
        """
        kind = (default_queue_type or "classic").removeprefix("rabbit_").removesuffix("_queue")
        if kind not in QUEUE_TYPES:
            bad_request(f"{default_queue_type} is not a valid queue type")
        is_new = name not in self._server.vhosts
        vhost = self._server.vhosts.get(name) or self._server.create_vhost(name)
        vhost.description, vhost.tags, vhost.default_queue_type = description, tuple(tags), kind
        self._store_vhost(vhost)
        return is_new

    def protect_vhost(self, name: str, protected: bool) -> None:
        """Let a virtual host not be deleted, or be deleted again."""
        vhost = self.vhost(name)
        vhost.is_protected = protected
        self._store_vhost(vhost)

    def _store_vhost(self, vhost: VirtualHost) -> None:
        item = {
            "name": vhost.name,
            "description": vhost.description,
            "tags": list(vhost.tags),
            "default_queue_type": vhost.default_queue_type,
            "limits": vhost.limits,
            "protected": vhost.is_protected,
        }
        self._store("vhosts", [vhost.name], item)

    def _restore_vhost(self, item: Mapping[str, Any]) -> None:
        self.set_vhost(item["name"], item["description"], item["tags"], item["default_queue_type"])
        vhost = self._server.vhosts[item["name"]]
        vhost.limits = dict(item["limits"])
        vhost.is_protected = item["protected"]

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it, and close its connections.

        Raises:
            AdministrationError: It does not exist, or is protected.
        """
        vhost = self.vhost(name)
        if vhost.is_protected:
            raise AdministrationError(
                "precondition_failed",
                f"Refusing to delete virtual host '{name}' because it is protected from deletion",
            )
        self._server.drop_vhost(vhost)
        for user in self._server.accounts:
            self._store_default_user(user)
        self._server.accounts.forget_vhost(name)
        self._drop(_IN_VHOSTS, 0, name)
        self._store("vhosts", [name], None)

    def set_vhost_limit(self, vhost_name: str, limit: str, value: Any) -> None:
        """Limit the connections or queues of a virtual host; ``None`` lifts the limit.

        Raises:
            AdministrationError: There is no such virtual host or limit, or the value is no number.
        """
        vhost = self.vhost(vhost_name)
        vhost.limits = _changed(
            vhost.limits, limit, value, VHOST_LIMITS, "limits", "Validation failed\n\n", "\n"
        )
        self._store_vhost(vhost)

    # Users

    def user(self, name: str) -> User:
        """Return a user.

        Raises:
            AdministrationError: There is none of this name.
        """
        user = self._server.accounts.user(name)
        return user if user is not None else bad_request(f"no_such_user: {name}")

    def set_user(self, name: str, password: PasswordHash | None, tags: Iterable[str] = ()) -> bool:
        """Add a user, or change password and tags of one; returns whether the user is new."""
        accounts = self._server.accounts
        is_new = accounts.user(name) is None
        accounts.add_hashed_user(name, password, tuple(tags))
        self._store_user(self.user(name))
        return is_new

    def _store_default_user(self, user: User) -> None:
        """Store a user whom a new broker has, before the first change to the user's permissions."""
        if user.name in self._default_users and ("users", (user.name,)) not in self._stored:
            self._store_user(user)

    def _store_user(self, user: User) -> None:
        is_first = ("users", (user.name,)) not in self._stored
        item = {
            "name": user.name,
            "password_hash": user.password.text if user.password is not None else None,
            "hashing_algorithm": user.password.algorithm if user.password is not None else None,
            "tags": list(user.tags),
            "limits": user.limits,
        }
        self._store("users", [user.name], item)
        if is_first:
            for vhost, permissions in user.permissions.items():
                self._store_permissions(vhost, user.name, permissions)

    def _restore_user(self, item: Mapping[str, Any]) -> None:
        if item.get("deleted"):
            self._server.accounts.remove_user(item["name"])
            return
        text, algorithm = item["password_hash"], item["hashing_algorithm"]
        password = None if text is None else PasswordHash.parse(text, algorithm)
        self.set_user(item["name"], password, item["tags"])
        self.user(item["name"]).limits = dict(item["limits"])

    def delete_user(self, name: str) -> None:
        """Delete a user, and close the user's connections.

        Raises:
            AdministrationError: There is none of this name.
        """
        user = self._server.accounts.user(name)
        if user is None:
            not_found("Not Found")
        self._server.accounts.remove_user(name)
        # Remembered, because a new broker has a user guest.
        self._store("users", [name], {"name": name, "deleted": True})
        self._drop(_OF_USERS, 1, name)

    def set_user_limit(self, name: str, limit: str, value: Any) -> None:
        """Limit the connections or channels of a user; ``None`` lifts the limit.

        Raises:
            AdministrationError: There is no such user or limit, or the value is no number.
        """
        user = self.user(name)
        user.limits = _changed(user.limits, limit, value, USER_LIMITS, "user-limits")
        self._store_user(user)

    # Permissions

    def set_permissions(self, vhost: str, user: str, permissions: Permissions) -> bool:
        """Give a user access to a virtual host; returns whether the user had none.

        Raises:
            AdministrationError: The user or virtual host does not exist, or an expression is wrong.
        """
        found = self._server.accounts.user(user)
        if found is None or vhost not in self._server.vhosts:
            bad_request("vhost_or_user_not_found")
        is_new = vhost not in found.permissions
        try:
            self._server.accounts.set_permissions(user, vhost, permissions)
        except re.error as error:
            bad_request(f"invalid_regexp: {error}")
        self._store_permissions(vhost, user, permissions)
        return is_new

    def _store_permissions(self, vhost: str, user: str, permissions: Permissions) -> None:
        item = {
            "vhost": vhost,
            "user": user,
            "configure": permissions.configure,
            "write": permissions.write,
            "read": permissions.read,
        }
        self._store("permissions", [vhost, user], item)

    def _restore_permissions(self, item: Mapping[str, Any]) -> None:
        permissions = Permissions(item["configure"], item["write"], item["read"])
        self.set_permissions(item["vhost"], item["user"], permissions)

    def clear_permissions(self, vhost: str, user: str) -> None:
        """Take a user's access to a virtual host away.

        Raises:
            AdministrationError: The user had none.
        """
        found = self._server.accounts.user(user)
        if found is None or vhost not in found.permissions:
            not_found("Not Found")
        self._store_default_user(found)
        del found.permissions[vhost]
        self._store("permissions", [vhost, user], None)

    def set_topic_permissions(
        self, vhost: str, user: str, exchange: str, permissions: TopicPermissions
    ) -> bool:
        """Limit the routing keys of a user at a topic exchange; returns whether they were not limited.

        Raises:
            AdministrationError: The user or virtual host does not exist, or an expression is wrong.
        """
        found = self._server.accounts.user(user)
        if found is None or vhost not in self._server.vhosts:
            bad_request("vhost_or_user_not_found")
        # As in RabbitMQ, for whatever exchange.
        is_new = all(place != vhost for place, _ in found.topic_permissions)
        try:
            self._server.accounts.set_topic_permissions(user, vhost, exchange, permissions)
        except re.error as error:
            bad_request(f"invalid_regexp: {error}")
        item = {
            "vhost": vhost,
            "user": user,
            "exchange": exchange,
            "write": permissions.write,
            "read": permissions.read,
        }
        self._store("topic_permissions", [vhost, user, exchange], item)
        return is_new

    def _restore_topic_permissions(self, item: Mapping[str, Any]) -> None:
        permissions = TopicPermissions(item["write"], item["read"])
        self.set_topic_permissions(item["vhost"], item["user"], item["exchange"], permissions)

    def clear_topic_permissions(self, vhost: str, user: str, exchange: str | None = None) -> None:
        """Lift the limits of a user's routing keys, at one exchange or at all.

        Raises:
            AdministrationError: There were none.
        """
        found = self._server.accounts.user(user)
        limits = found.topic_permissions if found is not None else {}
        gone = [key for key in limits if key[0] == vhost and exchange in (None, key[1])]
        if not gone:
            not_found("Not Found")
        for key in gone:
            del limits[key]
            self._store("topic_permissions", [vhost, user, key[1]], None)

    # Policies

    def set_policy(self, vhost_name: str, name: str, item: Mapping[str, Any], operator: bool) -> bool:
        """Set a policy or an operator policy; returns whether it is new.

        Args:
            vhost_name: Name of the virtual host.
            name: Name of the policy.
            item: Its ``pattern``, ``definition``, ``priority`` and ``apply-to``.
            operator: Whether it is an operator policy.

        Raises:
            AdministrationError: The virtual host does not exist, or the policy is wrong.
        """
        vhost = self.vhost(vhost_name)
        definition = item.get("definition")
        if not isinstance(definition, Mapping):
            bad_request("the definition of a policy must be an object")
        try:
            policy = make_policy(
                name,
                item.get("pattern"),
                definition,
                item.get("priority", 0),
                item.get("apply-to", "all"),
                operator,
                vhost.profile,
            )
        except PolicyError as error:
            bad_request(f"Validation failed\n\n{error}")
        policies = vhost.policies.operator if operator else vhost.policies.ordinary
        is_new = name not in policies
        policies[name] = policy
        vhost.policies_changed()
        self._store(_section(operator), [vhost_name, name], policy_item(vhost_name, policy))
        return is_new

    def delete_policy(self, vhost_name: str, name: str, operator: bool) -> None:
        """Delete a policy or an operator policy.

        Raises:
            AdministrationError: It does not exist.
        """
        vhost = self.vhost(vhost_name)
        policies = vhost.policies.operator if operator else vhost.policies.ordinary
        if policies.pop(name, None) is None:
            not_found("Not Found")
        vhost.policies_changed()
        self._store(_section(operator), [vhost_name, name], None)

    # Parameters

    def set_parameter(self, component: str, vhost: str, name: str, value: Any) -> bool:
        """Set a parameter; returns whether it is new.

        Raises:
            AdministrationError: The component does not exist, or takes no such value.
        """
        if component == "policy":
            bad_request("policies may not be set using this method")
        if component == OPERATOR_POLICY and isinstance(value, Mapping):
            return self.set_policy(vhost, name, value, operator=True)
        if component == _LIMITS_COMPONENT and (isinstance(value, Mapping) or value == []):
            for limit, number in dict(value).items():
                self.set_vhost_limit(vhost, limit, number)
            return True
        bad_request(f"Validation failed\n\ncomponent {component} not found\n")

    def parameters(self) -> list[dict[str, Any]]:
        """Return all parameters: operator policies, and limits of virtual hosts."""
        found: list[dict[str, Any]] = []
        for vhost in self._server.vhosts.values():
            if vhost.limits:
                found.append(
                    {
                        "value": vhost.limits,
                        "vhost": vhost.name,
                        "component": _LIMITS_COMPONENT,
                        "name": "limits",
                    }
                )
            for policy in vhost.policies.operator.values():
                item = policy_item(vhost.name, policy)
                value = {key: item[key] for key in ("pattern", "definition", "priority", "apply-to")}
                found.append(
                    {"value": value, "vhost": vhost.name, "component": OPERATOR_POLICY, "name": policy.name}
                )
        return found

    def delete_parameter(self, component: str, vhost: str, name: str) -> None:
        """Delete a parameter.

        Raises:
            AdministrationError: It does not exist.
        """
        if component == OPERATOR_POLICY:
            self.delete_policy(vhost, name, operator=True)
        elif component == _LIMITS_COMPONENT and name == "limits" and self.vhost(vhost).limits:
            self.vhost(vhost).limits = {}
            self._store_vhost(self.vhost(vhost))
        else:
            not_found("Not Found")

    def set_global_parameter(self, name: str, value: Any) -> bool:
        """Keep a value for others; returns whether it is new."""
        is_new = name not in self.global_parameters
        self.global_parameters[name] = value
        self._store("global_parameters", [name], {"name": name, "value": value})
        return is_new

    def _restore_global_parameter(self, item: Mapping[str, Any]) -> None:
        self.global_parameters[item["name"]] = item["value"]

    def delete_global_parameter(self, name: str) -> None:
        """Forget such a value.

        Raises:
            AdministrationError: There is none of this name.
        """
        if name not in self.global_parameters:
            not_found("Not Found")
        del self.global_parameters[name]
        self._store("global_parameters", [name], None)

    @property
    def cluster_name(self) -> str:
        """The name that clients are told."""
        name = self.global_parameters.get("cluster_name", "embedded")
        return name if isinstance(name, str) else "embedded"


def policy_item(vhost: str, policy: Policy) -> dict[str, Any]:
    """Return a policy as definitions and the HTTP API write it."""
    return {
        "vhost": vhost,
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": dict(policy.definition),
        "priority": policy.priority,
    }


def _section(operator: bool) -> str:
    return "operator_policies" if operator else "policies"


def _changed(
    limits: Mapping[str, int],
    limit: str,
    value: Any,
    known: tuple[str, ...],
    what: str,
    before: str = "",
    after: str = "",
) -> dict[str, int]:
    """Return limits with one of them changed or lifted."""
    if limit not in known:
        shown = f'<<"{value}">>' if isinstance(value, str) else value
        bad_request(f'{before}Unrecognised terms [{{<<"{limit}">>,{shown}}}] in {what}{after}')
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        shown = f'<<"{value}">>' if isinstance(value, str) else value
        bad_request(f"{before}{limit} should be a number, actually was {shown}{after}")
    rest = {name: number for name, number in limits.items() if name != limit}
    return rest if value is None else {**rest, limit: value}


#: How each section of the stored definitions is taken back; in this order.
_RESTORE: Final[dict[str, Callable[[Administration, Mapping[str, Any]], Any]]] = {
    "vhosts": Administration._restore_vhost,
    "users": Administration._restore_user,
    "permissions": Administration._restore_permissions,
    "topic_permissions": Administration._restore_topic_permissions,
    "policies": lambda admin, item: admin.set_policy(item["vhost"], item["name"], item, operator=False),
    "operator_policies": lambda admin, item: admin.set_policy(
        item["vhost"], item["name"], item, operator=True
    ),
    "global_parameters": Administration._restore_global_parameter,
}
SECTIONS: Final = tuple(_RESTORE)
