"""Users, their passwords and their permissions."""

from __future__ import annotations

import re

import pytest

from fedora_messaging.broker.accounts import Accounts, Permissions


def test_permission_that_is_no_expression_changes_nothing() -> None:
    accounts = Accounts()
    with pytest.raises(re.error):
        accounts.set_permissions("guest", "/", Permissions(read="("))
    guest = accounts.user("guest")
    assert guest is not None
    assert accounts.allows(guest, "/", "read", "q")
