"""What to reach."""

from dataclasses import dataclass

from benchmarks.brokers import EMBEDDED, EMBEDDED_DATA, RABBITMQ
from benchmarks.cases import EMPTY_QUEUE, FULL_QUEUE
from benchmarks.results import Computed, Key, Results, ratio, typical
from benchmarks.rivals import AIO_PIKA, LIBRABBITMQ, OLD, OURS, PIKA, PIKA_SELECT

_EVERY_BROKER = (RABBITMQ, EMBEDDED)
_OUR_BROKERS = (EMBEDDED, EMBEDDED_DATA)


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Attributes:
        workload: What is done.
        against: Whom it is compared with, and in what.
        bound: The figure wanted.
        at_least: Whether more is better.
        have: Computes the figure we have on a broker.
        brokers: Those it is computed for.
    """

    workload: str
    against: str
    bound: float
    at_least: bool
    have: Computed
    brokers: tuple[str, ...] = _EVERY_BROKER

    def is_met(self, have: float) -> bool:
        return have >= self.bound if self.at_least else have <= self.bound

    @property
    def want(self) -> str:
        """The bound in words."""
        return f"{'>=' if self.at_least else '<='} {self.bound:.3g}"


def _against(metric: str, ours: str, rival: Key) -> Computed:
    def have(results: Results, broker: str) -> float | None:
        return ratio(results.figure(broker, (OURS, ours), metric), results.figure(broker, rival, metric))

    return have


def _alone(metric: str, ours: str) -> Computed:
    return lambda results, broker: typical(results.figure(broker, (OURS, ours), metric))


def _against_rabbitmq(metric: str, ours: str) -> Computed:
    def have(results: Results, broker: str) -> float | None:
        case = (OURS, ours)
        return ratio(results.figure(broker, case, metric), results.figure(RABBITMQ, case, metric))

    return have


def _windowed() -> list[Target]:
    targets = []
    for ours, window in (("publish 256", 256), ("publish 1024", 1024), ("publish 64 threads", 256)):
        theirs = f"publish {window}"
        targets += [
            Target(ours, "librabbitmq, rate", 0.9, True, _against("rate", ours, (LIBRABBITMQ, theirs))),
            Target(
                ours, "old twisted_publish 256, rate", 15, True, _against("rate", ours, (OLD, "publish 256"))
            ),
            Target(ours, "pika Select, rate", 1.3, True, _against("rate", ours, (PIKA_SELECT, theirs))),
            Target(ours, "pika Select, CPU", 0.65, False, _against("cpu_us", ours, (PIKA_SELECT, theirs))),
        ]
    return targets


def _published_one_by_one() -> list[Target]:
    old = (OLD, "publish 1")
    return [
        Target("publish 1, sync", "old publish, rate", 5, True, _against("rate", "publish 1", old)),
        Target("publish 1, sync", "old publish, CPU", 1 / 12, False, _against("cpu_us", "publish 1", old)),
    ]


def _consumed() -> list[Target]:
    rivals = (("librabbitmq", LIBRABBITMQ, 0.85), ("old", OLD, 40), ("pika Select", PIKA_SELECT, 1.7))
    ours, thread = "consume 100", "consume 100 thread"
    return [
        *(
            Target(ours, f"{label}, rate", bound, True, _against("rate", ours, (client, ours)))
            for label, client, bound in rivals
        ),
        Target(ours, "aio-pika, rate", 3.5, True, _against("rate", ours, (AIO_PIKA, ours))),
        Target(thread, "old, rate", 25, True, _against("rate", thread, (OLD, ours))),
        Target(thread, "CPU, us", 60, False, _alone("cpu_us", thread)),
    ]


def _small_things() -> list[Target]:
    cold, start = "cold publish", "broker start"
    latency = (PIKA, "latency")
    return [
        Target("publish 256", "CPU, us", 40, False, _alone("cpu_us", "publish 256")),
        Target("publish 256 prebuilt", "CPU, us", 40, False, _alone("cpu_us", "publish 256 prebuilt")),
        Target("publish 1024", "CPU, us", 40, False, _alone("cpu_us", "publish 1024")),
        Target("consume 100", "CPU, us", 35, False, _alone("cpu_us", "consume 100")),
        Target("latency p50", "pika Blocking", 0.9, False, _against("p50_ms", "latency", latency)),
        Target("latency p99", "pika Blocking", 0.9, False, _against("p99_ms", "latency", latency)),
        Target(cold, "old, wall", 0.25, False, _against("wall_ms", cold, (OLD, cold))),
        Target(cold, "RSS, MB", 40, False, _alone("rss_mb", cold)),
        Target("import api", "old", 0.25, False, _against("wall_ms", "import", (OLD, "import")), (EMBEDDED,)),
        Target("broker start", "as a command, ms", 400, False, _alone("wall_ms", start), (EMBEDDED,)),
        Target("broker start", "in process, ms", 100, False, _alone("in_process_ms", start), (EMBEDDED,)),
        Target("broker idle", "RSS, MB", 60, False, _alone("rss_mb", start), (EMBEDDED,)),
    ]


def _of_the_broker() -> list[Target]:
    targets = []
    for ours in ("publish 256", "consume 100", "both at once"):
        targets += [
            Target(
                ours, "RabbitMQ, same client, rate", 1, True, _against_rabbitmq("rate", ours), _OUR_BROKERS
            ),
            Target(ours, "broker CPU, us", 100, False, _alone("broker_us", ours), _OUR_BROKERS),
        ]

    def bindings(results: Results, broker: str) -> float | None:
        many, few = (
            results.figure(broker, (OURS, case), "broker_us") for case in ("10000 bindings", "10 bindings")
        )
        return ratio(many, few)

    def million(results: Results, broker: str) -> float | None:
        full, empty = (
            results.figure(broker, (OURS, case), "broker_us") for case in (FULL_QUEUE, EMPTY_QUEUE)
        )
        return ratio(full, empty)

    return [
        *targets,
        Target("10000 bindings", "10 bindings, broker CPU", 1.5, False, bindings, (EMBEDDED,)),
        Target("1000000 queued", "empty queue, broker CPU", 1.5, False, million, _OUR_BROKERS),
        Target("1000000 queued", "broker RSS, MB", 500, False, _alone("rss_mb", FULL_QUEUE), _OUR_BROKERS),
    ]


def all_targets() -> list[Target]:
    """Return all lines of the table."""
    return [*_windowed(), *_published_one_by_one(), *_consumed(), *_small_things(), *_of_the_broker()]
