"""Milliseconds until an embedded broker is ready in a program: with its import, and without."""

import time

begin = time.perf_counter()
from fedora_messaging.broker import Broker  # noqa: E402

imported = time.perf_counter()
with Broker():
    ready = time.perf_counter()

print((ready - begin) * 1e3, (ready - imported) * 1e3)
