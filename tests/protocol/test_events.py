"""What events tell: their fields, and how a log or a failing test shows them."""

from __future__ import annotations

from typing import Any

import pytest

from fedora_messaging.protocol import events as ev
from fedora_messaging.wire import methods as m

# Each event with its text; the fields come in the order of the constructor.
EVENTS: list[tuple[ev.Event, str]] = [
    (
        ev.LoginRequested("PLAIN", b"\0u\0p", {"product": "x"}),
        "LoginRequested(mechanism='PLAIN', response=b'\\x00u\\x00p', client_properties={'product': 'x'})",
    ),
    (ev.OpenRequested("/"), "OpenRequested(vhost='/')"),
    (ev.ConnectionOpened(), "ConnectionOpened()"),
    (
        ev.ConnectionEnded(200, "bye", True),
        "ConnectionEnded(reply_code=200, reply_text='bye', by_peer=True)",
    ),
    (
        ev.MethodReceived(3, m.BasicCancel("tag")),
        f"MethodReceived(channel=3, method={m.BasicCancel('tag')!r})",
    ),
    (
        ev.ContentReceived(3, m.BasicPublish("e", "k"), b"\0\0", None),
        f"ContentReceived(channel=3, method={m.BasicPublish('e', 'k')!r}, properties=b'\\x00\\x00', "
        "body=None, announced=0)",
    ),
    (ev.ChannelOpened(65535), "ChannelOpened(channel=65535)"),
    (
        ev.ChannelEnded(1, 404, "NOT_FOUND - q", False),
        "ChannelEnded(channel=1, reply_code=404, reply_text='NOT_FOUND - q', by_peer=False)",
    ),
]


@pytest.mark.parametrize(("event", "text"), EVENTS, ids=[type(event).__name__ for event, _ in EVENTS])
def test_events_say_what_they_are(event: ev.Event, text: str) -> None:
    assert repr(event) == text


def test_every_event_is_shown_above() -> None:
    assert {type(event) for event, _ in EVENTS} == set(ev.Event.__subclasses__())


@pytest.mark.parametrize("event", [event for event, _ in EVENTS], ids=lambda event: type(event).__name__)
def test_events_have_no_other_fields(event: Any) -> None:
    """One is made for every frame that arrives, so none carries a dictionary."""
    with pytest.raises(AttributeError):
        event.another = 1


def test_a_body_that_was_too_large_differs_from_an_empty_one() -> None:
    empty = ev.ContentReceived(1, m.BasicPublish(), b"\0\0", b"")
    too_large = ev.ContentReceived(1, m.BasicPublish(), b"\0\0", None)
    assert (empty.body, too_large.body) == (b"", None)
