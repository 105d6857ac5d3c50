"""Helpers for the tests of programs that publish and consume; the pytest fixtures are in :mod:`.plugin`."""

from .mocking import mock_sends

__all__ = ["mock_sends"]
