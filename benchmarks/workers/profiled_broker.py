"""``fedora-messaging broker``, profiling itself between two signals into the file of the first argument."""

import cProfile
import signal
import sys

from benchmarks.workers.common import START_PROFILE, STOP_PROFILE
from fedora_messaging.cli import cli


def main() -> None:
    profile = cProfile.Profile()
    path = sys.argv[1]

    def stop(_number: int, _frame: object) -> None:
        profile.disable()
        profile.dump_stats(path)

    signal.signal(START_PROFILE, lambda _number, _frame: profile.enable())
    signal.signal(STOP_PROFILE, stop)
    cli(["broker", *sys.argv[2:]])


if __name__ == "__main__":
    main()
