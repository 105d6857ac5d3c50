"""What a test does when a server it needs is not on this machine."""

import os

import pytest

REQUIRE_SERVERS = "FM_TEST_REQUIRE_SERVERS"


def require(condition: bool, what: str, how: str) -> None:
    """Skip the calling test unless a server it needs is there.

    With ``FM_TEST_REQUIRE_SERVERS=1`` in the environment the test fails instead, so that a machine meant to
    have every server (continuous integration) cannot quietly skip.

    Args:
        condition: Whether the server is there.
        what: Name of the server, as in "RabbitMQ".
        how: How to get it, as in "install the package rabbitmq-server".
    """
    __tracebackhide__ = True
    if condition:
        return
    reason = f"{what} is missing: {how}"
    if os.environ.get(REQUIRE_SERVERS) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
