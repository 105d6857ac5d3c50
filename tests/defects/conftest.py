"""Fixtures of the client's and the commands' tests, used here for both."""

from tests.cli.conftest import processes
from tests.support.fixtures import fresh_settings, light_heap, nothing_left

__all__ = ["fresh_settings", "light_heap", "nothing_left", "processes"]
