"""What a publisher writes down."""

from __future__ import annotations

from typing import Final

STARTED: Final = "started"
#: A message is about to be published, or to be recorded in a transaction that will be committed; it was
#: accepted; it was not.
INTENT: Final = "intent"
ACCEPTED: Final = "accepted"
FAILED: Final = "failed"
#: A message is about to be recorded in a transaction that will be rolled back.
DOOMED: Final = "doomed"
#: A lane is about to be forked; has begun; has ended.
FORKING: Final = "forking"
BORN: Final = "born"
DONE: Final = "done"

#: How many arguments each has.
EVENTS: Final = {
    STARTED: 1,
    INTENT: 1,
    ACCEPTED: 1,
    FAILED: 2,
    DOOMED: 1,
    FORKING: 1,
    BORN: 2,
    DONE: 1,
}
