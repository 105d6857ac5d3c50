"""One Hypothesis profile for everything below the transport."""

from __future__ import annotations

import os

from hypothesis import settings


def load() -> None:
    """Make the same examples on every run; ``HYPOTHESIS_PROFILE=explore`` looks for new ones.

    No deadline: a test machine may stand still for a while, and no test here waits for anything.
    """
    settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=100)
    settings.register_profile("explore", deadline=None, max_examples=2000)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
