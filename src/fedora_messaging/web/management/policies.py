"""Policies, operator policies, parameters."""

from typing import TYPE_CHECKING, Any, Final

from ...broker.administration import policy_item
from ...broker.core.policies import Policy
from .call import NO_CONTENT, Answer, Call, put_answer
from .errors import not_found
from .routes import Endpoint

if TYPE_CHECKING:
    from ...broker.core.vhost import VirtualHost

_OPERATOR: Final = "operator-policies"


def _policies(vhost: "VirtualHost", operator: bool) -> dict[str, Policy]:
    return vhost.policies.operator if operator else vhost.policies.ordinary


def _list(call: Call, operator: bool) -> list[dict[str, Any]]:
    return [
        policy_item(vhost.name, policy)
        for vhost in call.vhosts()
        for _, policy in sorted(_policies(vhost, operator).items())
    ]


def _get(call: Call, operator: bool) -> dict[str, Any]:
    policy = _policies(call.vhost(), operator).get(call.path["policy"])
    if policy is None:
        raise not_found()
    return policy_item(call.path["vhost"], policy)


def _put(call: Call, operator: bool) -> Answer:
    vhost = call.vhost(writes=True)
    call.need("pattern", "definition")
    return put_answer(call.admin.set_policy(vhost.name, call.path["policy"], call.body, operator))


def _delete(call: Call, operator: bool) -> Answer:
    call.admin.delete_policy(call.vhost().name, call.path["policy"], operator)
    return NO_CONTENT


def list_policies(call: Call) -> list[dict[str, Any]]:
    """List the policies, of one virtual host or of all."""
    return _list(call, operator=False)


def get_policy(call: Call) -> dict[str, Any]:
    """Show a policy."""
    return _get(call, operator=False)


def put_policy(call: Call) -> Answer:
    """Set a policy."""
    return _put(call, operator=False)


def delete_policy(call: Call) -> Answer:
    """Delete a policy."""
    return _delete(call, operator=False)


def list_operator_policies(call: Call) -> list[dict[str, Any]]:
    """List the operator policies, of one virtual host or of all."""
    return _list(call, operator=True)


def get_operator_policy(call: Call) -> dict[str, Any]:
    """Show an operator policy."""
    return _get(call, operator=True)


def put_operator_policy(call: Call) -> Answer:
    """Set an operator policy."""
    return _put(call, operator=True)


def delete_operator_policy(call: Call) -> Answer:
    """Delete an operator policy."""
    return _delete(call, operator=True)


def list_parameters(call: Call) -> list[dict[str, Any]]:
    """List the parameters, of one component and virtual host or of all."""
    wanted = {key: call.path[key] for key in ("component", "vhost") if key in call.path}
    seen = {vhost.name for vhost in call.vhosts()}
    return [
        item
        for item in call.admin.parameters()
        if item["vhost"] in seen and all(item[key] == value for key, value in wanted.items())
    ]


def get_parameter(call: Call) -> dict[str, Any]:
    """Show a parameter."""
    for item in list_parameters(call):
        if item["name"] == call.path["name"]:
            return item
    raise not_found()


def put_parameter(call: Call) -> Answer:
    """Set a parameter."""
    vhost = call.vhost(writes=True)
    call.need("value")
    is_new = call.admin.set_parameter(
        call.path["component"], vhost.name, call.path["name"], call.body["value"]
    )
    return put_answer(is_new)


def delete_parameter(call: Call) -> Answer:
    """Delete a parameter."""
    call.admin.delete_parameter(call.path["component"], call.vhost().name, call.path["name"])
    return NO_CONTENT


def list_global_parameters(call: Call) -> list[dict[str, Any]]:
    """List the global parameters."""
    return [{"name": name, "value": value} for name, value in sorted(call.admin.global_parameters.items())]


def get_global_parameter(call: Call) -> dict[str, Any]:
    """Show a global parameter."""
    name = call.path["name"]
    if name not in call.admin.global_parameters:
        raise not_found()
    return {"value": call.admin.global_parameters[name], "name": name}


def put_global_parameter(call: Call) -> Answer:
    """Set a global parameter."""
    call.need("value")
    return put_answer(call.admin.set_global_parameter(call.path["name"], call.body["value"]))


def delete_global_parameter(call: Call) -> Answer:
    """Delete a global parameter."""
    call.admin.delete_global_parameter(call.path["name"])
    return NO_CONTENT


_POLICYMAKER: Final = "policymaker"
_ADMINISTRATOR: Final = "administrator"

ENDPOINTS: Final = (
    Endpoint("policies", {"GET": list_policies}),
    Endpoint("policies/{vhost}", {"GET": list_policies}),
    Endpoint(
        "policies/{vhost}/{policy}",
        {"GET": get_policy, "PUT": put_policy, "DELETE": delete_policy},
        _POLICYMAKER,
    ),
    Endpoint(_OPERATOR, {"GET": list_operator_policies}),
    Endpoint(f"{_OPERATOR}/{{vhost}}", {"GET": list_operator_policies}),
    Endpoint(
        f"{_OPERATOR}/{{vhost}}/{{policy}}",
        {"GET": get_operator_policy, "PUT": put_operator_policy, "DELETE": delete_operator_policy},
        _ADMINISTRATOR,
    ),
    Endpoint("parameters", {"GET": list_parameters}, _POLICYMAKER),
    Endpoint("parameters/{component}", {"GET": list_parameters}, _POLICYMAKER),
    Endpoint("parameters/{component}/{vhost}", {"GET": list_parameters}, _POLICYMAKER),
    Endpoint(
        "parameters/{component}/{vhost}/{name}",
        {"GET": get_parameter, "PUT": put_parameter, "DELETE": delete_parameter},
        _POLICYMAKER,
    ),
    Endpoint("global-parameters", {"GET": list_global_parameters}, _POLICYMAKER),
    Endpoint(
        "global-parameters/{name}",
        {"GET": get_global_parameter, "PUT": put_global_parameter, "DELETE": delete_global_parameter},
        _POLICYMAKER,
    ),
)
