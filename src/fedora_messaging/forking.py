"""Making forks wait for what a child could not finish.

CPython does not free the locks of modules that another thread is importing at the moment of a fork, so that
a child which needs such a module waits for ever. What we import late is imported under this lock, and a fork
takes it.
"""

import concurrent.futures.thread  # noqa: F401 - has fork hooks of its own, which must be there before ours
import os
import threading

#: Held while something is set up that must be whole in a child.
setting_up = threading.RLock()

os.register_at_fork(
    before=setting_up.acquire, after_in_parent=setting_up.release, after_in_child=setting_up.release
)
