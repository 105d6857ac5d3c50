"""How fast ``archive run`` takes messages off a queue, beside a consumer that does nothing with them.

``python -m benchmarks.ingest --messages 50000``
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika

from benchmarks.archive_messages import messages
from benchmarks.brokers import COMMAND, EMBEDDED, EMBEDDED_DATA, RABBITMQ, Broker, start_brokers
from benchmarks.processes import ProgramFailed, environment, run, running, snapshot_source
from benchmarks.report import table
from benchmarks.workers.common import rss_mb
from fedora_messaging import api, config
from fedora_messaging.archive.location import open_archive
from fedora_messaging.message import Message, loads

_QUEUE = "archive"
#: Messages that the broker sends ahead; `archive run` has as many.
_PREFETCH = 500
#: Seconds without a new message in the archive after which it is stuck.
_PATIENCE = 60.0


def _fill(broker: Broker, number: int) -> None:
    """Put messages into the queue."""
    with closing(pika.BlockingConnection(pika.URLParameters(broker.url))) as connection:
        channel = connection.channel()
        channel.queue_declare(_QUEUE, durable=True)
        channel.queue_bind(_QUEUE, "amq.topic", "#")
    outcomes = api.publish_many(_generated(number), timeout=None)
    failed = [outcome for outcome in outcomes if outcome is not None]
    if failed:
        raise ProgramFailed(f"{len(failed)} messages were not published: {failed[0]}")


def _generated(number: int) -> Iterator[Message]:
    for generated in messages(number, 0):
        yield from loads(generated.line)


def _consumed(conf: Path, number: int) -> float:
    """Return the rate of a consumer."""
    command = [sys.executable, "-m", "benchmarks.workers.count_messages", _QUEUE, str(number)]
    return run(command, environment(conf=str(conf))).figures()["rate"]


def _archived(conf: Path, location: str, number: int, log: Path) -> tuple[float, float]:
    """Return the rate of the archive, from its first message to its last, and its memory in MB."""
    command: list[str | Path] = [
        COMMAND,
        "archive",
        "run",
        "--archive",
        location,
        "--queue-name",
        _QUEUE,
        "#",
    ]
    variables = environment(conf=str(conf))
    with (
        closing(open_archive(location)) as archive,
        log.open("w", encoding="utf-8") as output,
        running(command, variables, stdout=subprocess.DEVNULL, stderr=output) as process,
    ):
        first, first_at, seen, seen_at = 0, 0.0, 0, time.perf_counter()
        while seen < number:
            time.sleep(0.02)
            stored, now = archive.newest_seq(), time.perf_counter()
            if not first and stored:
                first, first_at = stored, now
            if stored > seen:
                seen, seen_at = stored, now
            elif now - seen_at > _PATIENCE:
                raise ProgramFailed(f"the archive has {seen} of {number} messages\n{log.read_text()}")
        return (number - first) / (seen_at - first_at), rss_mb(process.pid)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--broker", choices=[EMBEDDED, EMBEDDED_DATA, RABBITMQ], default=EMBEDDED)
    parser.add_argument(
        "--archive",
        metavar="LOCATION",
        help="postgresql:// URL of an empty database (default: a file that is deleted)",
    )
    parser.add_argument("--messages", type=int, metavar="N", default=50_000, help="default 50000")
    return parser.parse_args()


def _main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="fm-benchmark-") as name:
        directory = Path(name)
        source, _ = snapshot_source(directory)
        with start_brokers([arguments.broker], directory, source) as (broker,):
            conf = directory / "bench.toml"
            conf.write_text(f'amqp_url = "{broker.url}"\n[qos]\nprefetch_count = {_PREFETCH}\n', "utf-8")
            config.conf.load_config(str(conf))
            _fill(broker, arguments.messages)
            consumer = _consumed(conf, arguments.messages)
            _fill(broker, arguments.messages)
            api.close()
            location = arguments.archive or str(directory / "archive.db")
            archive, memory = _archived(conf, location, arguments.messages, directory / "archive.log")
    rows = [
        ["broker", arguments.broker],
        ["a consumer that does nothing, messages/s", f"{consumer:.0f}"],
        ["archive run, messages/s", f"{archive:.0f}"],
        ["part", f"{archive / consumer:.2f}"],
        ["memory of the archive, MB", f"{memory:.0f}"],
    ]
    print(table(rows))


if __name__ == "__main__":
    _main()
