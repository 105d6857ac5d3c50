"""What is measured."""

from dataclasses import dataclass

from benchmarks.rivals import AIO_PIKA, COMPILED, FASTSTREAM, KOMBU, LIBRABBITMQ, OLD, OURS, PIKA, PIKA_SELECT


@dataclass(frozen=True)
class Case:
    """One client doing one workload.

    Attributes:
        client: Its name.
        workload: Its name in the results; the same for all clients that do the same.
        kind: How it is measured: a function of `benchmarks.measure`.
        worker: Module of `benchmarks.workers`.
        window: Publishes under way at once.
        prefetch: Of a consumer.
        share: Part of the messages of a whole run; slow clients do less.
        style: A variant, for the worker.
        with_data: Also measured with the embedded broker that has a data directory.
        bindings: Bindings of the exchange that is published to; 0 is amq.topic.
        brokerless: Needs no broker: measured once a round.
    """

    client: str
    workload: str
    kind: str
    worker: str = ""
    window: int = 1
    prefetch: int = 0
    share: float = 1.0
    style: str = ""
    with_data: bool = False
    bindings: int = 0
    brokerless: bool = False

    @property
    def name(self) -> str:
        """Client and workload."""
        return f"{self.client} {self.workload}"


def _publish(client: str, worker: str, window: int, share: float, *, with_data: bool = False) -> Case:
    return Case(
        client, f"publish {window}", "publish", worker, window=window, share=share, with_data=with_data
    )


def _consume(client: str, worker: str, prefetch: int, share: float, *, with_data: bool = False) -> Case:
    return Case(
        client, f"consume {prefetch}", "consume", worker, prefetch=prefetch, share=share, with_data=with_data
    )


CASES = (
    # Neighbours are compared with each other, so they are measured one after the other.
    _publish(OURS, "ours_aio", 256, 1, with_data=True),
    _publish(COMPILED, "ours_aio", 256, 1),
    _publish(LIBRABBITMQ, "", 256, 1),
    _publish(PIKA_SELECT, "rival_pika_select", 256, 1),
    _publish(AIO_PIKA, "rival_aio_pika", 256, 0.5),
    _publish(FASTSTREAM, "rival_faststream", 256, 0.5),
    _publish(OLD, "rival_old", 256, 0.05),
    _publish(OURS, "ours_aio", 1024, 1),
    _publish(COMPILED, "ours_aio", 1024, 1),
    _publish(LIBRABBITMQ, "", 1024, 1),
    _publish(PIKA_SELECT, "rival_pika_select", 1024, 1),
    Case(OURS, "publish 256 prebuilt", "publish", "ours_aio", window=256, style="prebuilt"),
    Case(OURS, "publish 64 threads", "publish", "ours_sync", window=64),
    Case(COMPILED, "publish 64 threads", "publish", "ours_sync", window=64),
    _publish(OURS, "ours_sync", 1, 0.2),
    _publish(COMPILED, "ours_sync", 1, 0.2),
    _publish(LIBRABBITMQ, "", 1, 0.2),
    _publish(PIKA, "rival_pika_blocking", 1, 0.2),
    _publish(KOMBU, "rival_kombu", 1, 0.2),
    _publish(OLD, "rival_old", 1, 0.04),
    _consume(OURS, "ours_aio", 100, 1, with_data=True),
    _consume(COMPILED, "ours_aio", 100, 1),
    _consume(LIBRABBITMQ, "", 100, 1),
    _consume(PIKA_SELECT, "rival_pika_select", 100, 1),
    _consume(PIKA, "rival_pika_blocking", 100, 0.5),
    _consume(AIO_PIKA, "rival_aio_pika", 100, 0.5),
    _consume(FASTSTREAM, "rival_faststream", 100, 0.5),
    _consume(KOMBU, "rival_kombu", 100, 0.5),
    Case(OURS, "consume 100 thread", "consume", "ours_sync", prefetch=100),
    Case(COMPILED, "consume 100 thread", "consume", "ours_sync", prefetch=100),
    _consume(OLD, "rival_old", 100, 0.05),
    _consume(OURS, "ours_aio", 10, 1),
    Case(OURS, "both at once", "both", "ours_aio", window=256, prefetch=100, with_data=True),
    Case(OURS, "latency", "latency", "ours_aio", prefetch=10),
    Case(PIKA, "latency", "latency", "rival_pika_blocking", prefetch=10),
    Case(OURS, "cold publish", "cold_publish", "cold_publish"),
    Case(OLD, "cold publish", "cold_publish", "cold_publish"),
    Case(OURS, "import", "cold_import", "cold_import", brokerless=True),
    Case(OLD, "import", "cold_import", "cold_import", brokerless=True),
    Case(OURS, "broker start", "broker_start", "broker_start", brokerless=True),
    Case(OURS, "10 bindings", "publish", "ours_aio", window=256, bindings=10),
    Case(OURS, "10000 bindings", "publish", "ours_aio", window=256, bindings=10_000),
)

MILLION = 1_000_000
EMPTY_QUEUE = "publish and consume, empty queue"
FULL_QUEUE = "publish and consume, 1000000 queued"
