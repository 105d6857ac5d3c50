"""Each test has a configuration of its own."""

from tests.support.fixtures import fresh_settings

__all__ = ["fresh_settings"]
