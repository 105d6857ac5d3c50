"""No import runs in a circle, not even for types, but those of decision 6."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

#: See docs/explanation/decisions/0006-what-is-owned-may-name-its-owner.md.
OWNERS = {
    ("client.amqp.channel", "client.amqp.connection"),
    ("broker.channel", "broker.session"),
    ("broker.publishing", "broker.channel"),
    ("broker.reply_to", "broker.channel"),
    ("broker.session", "broker.server"),
    ("broker.administration", "broker.server"),
    ("broker.faults", "broker.server"),
    ("broker.storage.vhost_journal", "broker.storage.sqlite"),
    ("broker.core.delayed_messages", "broker.core.vhost"),
    ("broker.core.consumer", "broker.core.queue"),
    ("broker.core.journal", "broker.core.queue"),
    ("broker.core.journal", "broker.core.exchanges"),
}
PACKAGE = "fedora_messaging"


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module of the three packages imports of them, for types too."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=False, cache_dir=None)
    inside = {
        module
        for module in graph.modules
        if module.startswith(tuple(f"{PACKAGE}.{part}." for part in ("client", "broker", "protocol")))
    }
    return {
        module.removeprefix(f"{PACKAGE}."): {
            found.removeprefix(f"{PACKAGE}.")
            for found in graph.find_modules_directly_imported_by(module) & inside
        }
        for module in inside
    }


def test_no_circles_but_those_of_owners(imports: dict[str, set[str]]) -> None:
    remaining = {
        module: {found for found in targets if (module, found) not in OWNERS}
        for module, targets in imports.items()
    }
    try:
        TopologicalSorter(remaining).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_exception_is_needed(imports: dict[str, set[str]]) -> None:
    assert {pair for pair in OWNERS if pair[1] not in imports[pair[0]]} == set()
    # All of them, and nothing more: each alone closes a circle.
    for pair in OWNERS:
        allowed = OWNERS - {pair}
        remaining = {
            module: {found for found in targets if (module, found) not in allowed}
            for module, targets in imports.items()
        }
        with pytest.raises(CycleError):
            TopologicalSorter(remaining).prepare()
