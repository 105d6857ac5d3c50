"""The old fedora-messaging, in its own environment (``--old-python``)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.workers.common import Countdown, Job, Meter, load_message, run

if TYPE_CHECKING:
    from collections.abc import Callable

# By name, because these are other modules than those of the same name in our environment.
_api: Any = import_module("fedora_messaging.api")
_config: Any = import_module("fedora_messaging.config")
_message: Any = import_module("fedora_messaging.message")
_exceptions: Any = import_module("fedora_messaging.exceptions")


def _message_maker() -> Callable[[], Any]:
    sample = load_message()
    cls = _message.get_class(sample["headers"]["fedora_messaging_schema"])
    if cls is _message.Message:
        raise SystemExit("the package bodhi-messages is missing in the old environment")
    return lambda: cls(topic=sample["rk"], body=sample["body"])


def _publish(job: Job) -> None:
    publish_all = _publish_one_by_one if job.window == 1 else _publish_deferred
    meter = Meter(job)
    make = _message_maker()
    # The first one makes the connection.
    _api.publish(make())
    publish_all(make, job.warmup - 1, job.window)
    meter.start()
    publish_all(make, job.messages, job.window)
    meter.stop()
    meter.report()


def _publish_one_by_one(make: Callable[[], Any], count: int, _window: int) -> None:
    for _ in range(count):
        _api.publish(make())


def _publish_deferred(make: Callable[[], Any], count: int, window: int) -> None:
    crochet = import_module("crochet")
    defer = import_module("twisted.internet.defer")
    left = count

    @defer.inlineCallbacks  # type: ignore[untyped-decorator]
    def lane() -> Any:
        nonlocal left
        while left > 0:
            left -= 1
            yield _api.twisted_publish(make())

    @crochet.run_in_reactor  # type: ignore[untyped-decorator]
    def lanes() -> Any:
        return defer.gatherResults([lane() for _ in range(window)])

    lanes().wait(timeout=600)


def _consume(job: Job) -> None:
    _config.conf["qos"] = {"prefetch_size": 0, "prefetch_count": job.prefetch}
    meter = Meter(job)
    count = Countdown(job, meter)

    def callback(_received: Any) -> None:
        if count.is_last():
            raise _exceptions.HaltConsumer

    queue = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
    try:
        _api.consume(
            callback,
            bindings=[{"exchange": job.exchange, "queue": job.queue, "routing_keys": ["#"]}],
            queues={job.queue: queue},
        )
    except _exceptions.HaltConsumer:
        meter.report()


if __name__ == "__main__":
    run({"publish": _publish, "consume": _consume})
