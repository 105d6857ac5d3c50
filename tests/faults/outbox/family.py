"""Processes and what they have forked."""

from __future__ import annotations

import os
import select
from typing import Self


class Family:
    """Tells when all processes have ended that hold the end of a pipe, orphans among them."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._holds = True

    def have_ended(self, patience: float) -> bool:
        """Wait until nobody else is left; returns whether that is so."""
        self._let_go()
        return bool(select.select([self._reader], [], [], patience)[0])

    def _let_go(self) -> None:
        if self._holds:
            os.close(self.writer)
            self._holds = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._let_go()
        os.close(self._reader)
