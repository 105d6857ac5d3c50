"""How long ``import fedora_messaging.api`` takes, in milliseconds; also run by the old library."""

import time

begin = time.perf_counter()
import fedora_messaging.api  # noqa: E402, F401

print((time.perf_counter() - begin) * 1e3)
