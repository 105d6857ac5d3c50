"""Repeated declarations are compared in RabbitMQ's words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fedora_messaging.broker.core.equivalence import check_equivalent, check_same, locked, type_name
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.wire.int64 import Int64

WHAT = "queue 'q' in vhost '/'"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "bool"),
        (0, "signedint"),
        (2**31 - 1, "signedint"),
        (-(2**31), "signedint"),
        (2**31, "long"),
        (-(2**31) - 1, "long"),
        (Int64(1), "long"),
        ("", "longstr"),
        (1.5, "double"),
        ({}, "table"),
        ([], "array"),
        (None, "void"),
        (b"x", "binary"),
        (Decimal(1), "binary"),
    ],
)
def test_types_have_rabbitmqs_names(value: object, name: str) -> None:
    assert type_name(value) == name


def test_locked_queue() -> None:
    error = locked("q", "/")
    assert error.reply_code == 405
    assert error.reply_text == (
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be "
        "originally declared on another connection or the exclusive property value does not match that of "
        "the original declaration."
    )


def test_same_properties() -> None:
    check_same(WHAT, [("durable", True, True), ("type", "topic", "topic")])
    check_same(WHAT, [])


def test_first_property_that_differs_is_told() -> None:
    pairs = [("durable", True, True), ("auto_delete", True, False), ("type", "topic", "direct")]
    with pytest.raises(ChannelError) as caught:
        check_same(WHAT, pairs)
    assert caught.value.reply_text == (
        "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'q' in vhost '/': "
        "received 'false' but current is 'true'"
    )


@pytest.mark.parametrize(
    ("current", "received"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": Int64(1)}),
        ({"a": 1, "other": 1}, {"a": 1, "other": 2}),
        ({"x-queue-type": "classic"}, {}),
        ({}, {"x-queue-type": "classic"}),
        ({"a": None}, {}),
    ],
)
def test_equivalent_arguments(current: dict[str, Any], received: dict[str, Any]) -> None:
    check_equivalent(("a", "x-queue-type"), WHAT, current, received)


@pytest.mark.parametrize(
    ("current", "received", "told"),
    [
        ({"a": 1}, {"a": 2}, "'a' for {}: received '2' but current is '1'"),
        ({"a": False}, {"a": True}, "'a' for {}: received 'true' but current is 'false'"),
        (
            {},
            {"a": True},
            "'a' for {}: received the value 'true' of type 'bool' but current is none",
        ),
        (
            {"a": "x"},
            {},
            "'a' for {}: received none but current is the value 'x' of type 'longstr'",
        ),
        (
            {},
            {"x-queue-type": "quorum"},
            "'x-queue-type' for {}: received the value 'quorum' of type 'longstr' but current is none",
        ),
        ({"a": 1, "x-queue-type": "quorum"}, {"a": 2}, "'a' for {}: received '2' but current is '1'"),
    ],
)
def test_argument_that_differs(current: dict[str, Any], received: dict[str, Any], told: str) -> None:
    with pytest.raises(ChannelError) as caught:
        check_equivalent(("a", "x-queue-type"), WHAT, current, received)
    assert caught.value.reply_code == 406
    assert caught.value.reply_text == f"PRECONDITION_FAILED - inequivalent arg {told.format(WHAT)}"


@pytest.mark.parametrize(("current", "received"), [(10, 10.0), (1, True), (0.0, False)])
def test_numbers_of_other_kinds_differ(current: Any, received: Any) -> None:
    """For Python they are equal."""
    with pytest.raises(ChannelError, match="inequivalent arg 'x-any'"):
        check_equivalent(("x-any",), "queue 'q' in vhost '/'", {"x-any": current}, {"x-any": received})
    check_equivalent(("x-any",), "queue 'q' in vhost '/'", {"x-any": current}, {"x-any": current})
