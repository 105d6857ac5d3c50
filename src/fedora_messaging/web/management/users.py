"""Users, their permissions and limits."""

from typing import Any, Final

from ...broker.accounts import Permissions, TopicPermissions, User
from ...broker.administration import USER_LIMITS
from ...broker.passwords import PasswordHash
from .call import NO_CONTENT, Answer, Call, put_answer
from .errors import bad_request, not_authorised, not_found
from .lists import arrange
from .routes import NEW, OLD, Endpoint

_ADMINISTRATOR: Final = "administrator"


def user_item(user: User) -> dict[str, Any]:
    """Return a user as lists and definitions show one."""
    password = user.password or PasswordHash()
    return {
        "name": user.name,
        "password_hash": password.text,
        "hashing_algorithm": password.algorithm,
        "tags": list(user.tags),
        "limits": user.limits,
    }


def permission_item(user: User, vhost: str) -> dict[str, Any]:
    """Return the permissions of a user in a virtual host."""
    permissions = user.permissions[vhost]
    return {
        "user": user.name,
        "vhost": vhost,
        "configure": permissions.configure,
        "write": permissions.write,
        "read": permissions.read,
    }


def topic_permission_item(user: User, key: tuple[str, str]) -> dict[str, Any]:
    """Return the permissions of a user at a topic exchange."""
    vhost, exchange = key
    permissions = user.topic_permissions[key]
    return {
        "user": user.name,
        "vhost": vhost,
        "exchange": exchange,
        "write": permissions.write,
        "read": permissions.read,
    }


def _users(call: Call) -> list[User]:
    return sorted(call.server.accounts, key=lambda user: user.name)


def _user(call: Call) -> User:
    user = call.server.accounts.user(call.path["user"])
    if user is None:
        raise not_found()
    return user


def list_users(call: Call) -> Any:
    """List the users."""
    return arrange(_users(call), user_item, call.query)


def list_without_permissions(call: Call) -> Any:
    """List the users who have access to no virtual host."""
    found = [user for user in _users(call) if not user.permissions]
    return arrange(found, user_item, call.query, paged=not call.is_old)


def get_user(call: Call) -> dict[str, Any]:
    """Show a user."""
    return user_item(_user(call))


def put_user(call: Call) -> Answer:
    """Add a user, or change password and tags of one."""
    return put_answer(set_user(call, call.path["user"], call.body))


def set_user(call: Call, name: str, item: dict[str, Any]) -> bool:
    """Add or change a user as a request or definitions say; returns whether the user is new.

    Raises:
        RequestError: 400.
    """
    if "tags" not in item:
        raise bad_request("tags_not_present")
    if "password" in item and item.get("password_hash") is not None:
        raise bad_request("both_password_and_password_hash_are_provided")
    call_tags = item["tags"]
    if isinstance(call_tags, str):
        call_tags = [tag.strip() for tag in call_tags.split(",") if tag.strip()]
    if not isinstance(call_tags, list) or not all(isinstance(tag, str) for tag in call_tags):
        raise bad_request("tags must be a list of texts, or one text with commas")
    return call.admin.set_user(name, _password(item), call_tags)


def _password(item: dict[str, Any]) -> PasswordHash | None:
    password, hashed = item.get("password"), item.get("password_hash")
    if password is not None:
        if not isinstance(password, str):
            raise bad_request(["not_string", "password"])
        return PasswordHash.of(password)
    if not hashed:
        return None
    algorithm = item.get("hashing_algorithm") or "rabbit_password_hashing_sha256"
    if not isinstance(hashed, str) or not isinstance(algorithm, str):
        raise bad_request(["not_base64", hashed])
    try:
        return PasswordHash.parse(hashed, algorithm)
    except ValueError as error:
        reason = str(error) if "algorithm" in str(error) else ["not_base64", hashed]
        raise bad_request(reason) from None


def delete_user(call: Call) -> Answer:
    """Delete a user."""
    call.admin.delete_user(_user(call).name)
    return NO_CONTENT


def bulk_delete(call: Call) -> Answer:
    """Delete several users; names that do not exist are passed over, or in profile 3 refused."""
    call.need("users")
    names = call.body["users"]
    if not isinstance(names, list):
        raise bad_request("users must be a list of names")
    for name in names:
        if isinstance(name, str) and call.server.accounts.user(name) is not None:
            call.admin.delete_user(name)
        elif call.is_old:
            raise bad_request(["no_such_user", name])
    return NO_CONTENT


def list_all_permissions(call: Call) -> Any:
    """List the permissions of all users."""
    found = [permission_item(user, vhost) for user in _users(call) for vhost in sorted(user.permissions)]
    return arrange(found, lambda item: item, call.query, paged=False)


def list_permissions_of_user(call: Call) -> list[dict[str, Any]]:
    """List the permissions of a user."""
    user = _user(call)
    return [permission_item(user, vhost) for vhost in sorted(user.permissions)]


def get_permission(call: Call) -> dict[str, Any]:
    """Show the permissions of a user in a virtual host."""
    user, vhost = _user(call), call.path["vhost"]
    if vhost not in user.permissions:
        raise not_found()
    return permission_item(user, vhost)


def put_permission(call: Call) -> Answer:
    """Give a user access to a virtual host."""
    call.need("configure", "write", "read")
    permissions = Permissions(call.text("configure"), call.text("write"), call.text("read"))
    return put_answer(call.admin.set_permissions(call.path["vhost"], call.path["user"], permissions))


def delete_permission(call: Call) -> Answer:
    """Take the access of a user to a virtual host away."""
    call.admin.clear_permissions(call.path["vhost"], call.path["user"])
    return NO_CONTENT


def list_all_topic_permissions(call: Call) -> list[dict[str, Any]]:
    """List the topic permissions of all users."""
    return [
        topic_permission_item(user, key) for user in _users(call) for key in sorted(user.topic_permissions)
    ]


def list_topic_permissions_of_user(call: Call) -> list[dict[str, Any]]:
    """List the topic permissions of a user."""
    user = _user(call)
    return [topic_permission_item(user, key) for key in sorted(user.topic_permissions)]


def get_topic_permission(call: Call) -> list[dict[str, Any]]:
    """Show the topic permissions of a user in a virtual host."""
    user = _user(call)
    keys = [key for key in sorted(user.topic_permissions) if key[0] == call.path["vhost"]]
    if not keys:
        raise not_found()
    return [topic_permission_item(user, key) for key in keys]


def put_topic_permission(call: Call) -> Answer:
    """Limit the routing keys of a user at a topic exchange."""
    call.need("exchange", "write", "read")
    permissions = TopicPermissions(call.text("write"), call.text("read"))
    vhost = call.server.vhosts.get(call.path["vhost"])
    if vhost is not None and vhost.profile.names_permission and call.text("exchange") not in vhost.exchanges:
        raise bad_request(["no_such_exchange", call.text("exchange")])
    is_new = call.admin.set_topic_permissions(
        call.path["vhost"], call.path["user"], call.text("exchange"), permissions
    )
    return put_answer(is_new)


def delete_topic_permissions(call: Call) -> Answer:
    """Lift the limits of a user's routing keys."""
    call.admin.clear_topic_permissions(call.path["vhost"], call.path["user"], call.path.get("exchange"))
    return NO_CONTENT


def list_limits(call: Call) -> list[dict[str, Any]]:
    """List the limits of users."""
    return [{"user": user.name, "value": user.limits} for user in _users(call) if user.limits]


def list_limits_of_user(call: Call) -> list[dict[str, Any]]:
    """List the limits of a user."""
    if call.path["user"] != call.user.name and not call.has_tag("monitoring") and not call.is_old:
        raise not_authorised("Not monitor user")
    user = _user(call)
    return [{"user": user.name, "value": user.limits}] if user.limits else []


def put_limit(call: Call) -> Answer:
    """Limit the connections or channels of a user."""
    if call.server.accounts.user(call.path["user"]) is None:
        raise bad_request(["no_such_user", call.path["user"]])
    call.need("value")
    call.admin.set_user_limit(call.path["user"], call.path["limit"], call.body["value"])
    return NO_CONTENT


def delete_limit(call: Call) -> Answer:
    """Lift a limit of a user."""
    if call.path["limit"] not in USER_LIMITS:
        raise not_found()
    call.admin.set_user_limit(_user(call).name, call.path["limit"], None)
    return NO_CONTENT


ENDPOINTS: Final = (
    Endpoint("users", {"GET": list_users}, _ADMINISTRATOR),
    Endpoint("users/without-permissions", {"GET": list_without_permissions}, _ADMINISTRATOR),
    Endpoint("users/bulk-delete", {"POST": bulk_delete}, _ADMINISTRATOR),
    Endpoint("users/{user}", {"GET": get_user, "PUT": put_user, "DELETE": delete_user}, _ADMINISTRATOR),
    Endpoint("users/{user}/permissions", {"GET": list_permissions_of_user}, _ADMINISTRATOR),
    Endpoint("users/{user}/topic-permissions", {"GET": list_topic_permissions_of_user}, _ADMINISTRATOR),
    Endpoint("user-limits", {"GET": list_limits}, _ADMINISTRATOR, profiles=NEW),
    Endpoint("user-limits", {"GET": list_limits}, profiles=OLD),
    Endpoint("user-limits/{user}", {"GET": list_limits_of_user}),
    Endpoint("user-limits/{user}/{limit}", {"PUT": put_limit, "DELETE": delete_limit}, _ADMINISTRATOR),
    Endpoint("permissions", {"GET": list_all_permissions}, _ADMINISTRATOR),
    Endpoint(
        "permissions/{vhost}/{user}",
        {"GET": get_permission, "PUT": put_permission, "DELETE": delete_permission},
        _ADMINISTRATOR,
    ),
    Endpoint("topic-permissions", {"GET": list_all_topic_permissions}, _ADMINISTRATOR),
    Endpoint(
        "topic-permissions/{vhost}/{user}",
        {"GET": get_topic_permission, "PUT": put_topic_permission, "DELETE": delete_topic_permissions},
        _ADMINISTRATOR,
    ),
    Endpoint(
        "topic-permissions/{vhost}/{user}/{exchange}", {"DELETE": delete_topic_permissions}, _ADMINISTRATOR
    ),
)
