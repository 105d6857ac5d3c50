"""Settings for the tests of the codec."""

from __future__ import annotations

from tests.protocol import profile

profile.load()
