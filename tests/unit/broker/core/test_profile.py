"""Profiles: the releases of RabbitMQ that the broker imitates."""

from __future__ import annotations

import dataclasses

import pytest

from fedora_messaging.broker.core.profile import PROFILES, RABBITMQ_3, RABBITMQ_4, Profile, find_profile


@pytest.mark.parametrize(("name", "profile"), [("3", RABBITMQ_3), ("4", RABBITMQ_4)])
def test_profiles_by_name(name: str, profile: Profile) -> None:
    assert find_profile(name) is PROFILES[name] is profile
    assert profile.name == name
    assert profile.version.startswith(f"{name}.")


@pytest.mark.parametrize("name", ["5", "", "3.10"])
def test_name_that_does_not_exist(name: str) -> None:
    with pytest.raises(ValueError, match=f"^there is no profile '{name}'; choose one of 3, 4$"):
        find_profile(name)


def test_profile_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RABBITMQ_4.version = "5"  # type: ignore[misc]


def test_profiles_are_keys() -> None:
    """What is worked out from one is looked up by it."""
    assert len({RABBITMQ_3, RABBITMQ_4, dataclasses.replace(RABBITMQ_4)}) == 2


def test_some_rules_of_each() -> None:
    """A column that slipped would be seen here."""
    assert (RABBITMQ_3.frame_min, RABBITMQ_3.unknown_exchange_type, RABBITMQ_3.has_channel_prefetch) == (
        4096,
        503,
        True,
    )
    assert (RABBITMQ_4.frame_min, RABBITMQ_4.unknown_exchange_type, RABBITMQ_4.has_channel_prefetch) == (
        8192,
        406,
        False,
    )
