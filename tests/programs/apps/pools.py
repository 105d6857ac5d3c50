"""Publishes in the processes of a pool, before them and after them: ``pools.py {pool,executor} METHOD``."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from fedora_messaging import api
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

PROCESSES = 2
JOBS = range(1, 9)


def publish(number: int) -> int:
    """A job of the pool."""
    api.publish(Message(topic="job.done", body={"number": number, "pid": os.getpid()}))
    return os.getpid()


def run_pool(context: BaseContext) -> set[int]:
    with context.Pool(PROCESSES) as pool:
        # Leaving the block terminates the processes, as most programs let it.
        return set(pool.map(publish, JOBS, chunksize=1))


def run_executor(context: BaseContext) -> set[int]:
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as executor:
        return set(executor.map(publish, JOBS))


if __name__ == "__main__":
    kind, method = sys.argv[1:]
    publish(0)
    chosen = multiprocessing.get_context(method)
    pids = run_pool(chosen) if kind == "pool" else run_executor(chosen)
    publish(JOBS.stop)
    print("workers", *pids, flush=True)
