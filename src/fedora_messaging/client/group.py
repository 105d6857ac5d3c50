"""A group of consumers that start and end together."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..message import Message
from ..options import BindingOptions, ConsumerOptions, QosOptions, QueueOptions
from .consuming.consumer import Consumer
from .consuming.coroutine_runner import CoroutineRunner
from .consuming.runner import CallbackRunner, Runner, is_coroutine_callback
from .consuming.thread_runner import ThreadRunner
from .policy.dedupe import SeenMessages
from .policy.redelivery import Redelivery
from .policy.runner import PolicyRunner
from .supervisor import Supervisor


class ConsumerGroup:
    """One callback on several queues: when one consumer ends with an error, the group stops all of them.

    On a shared connection a queue has only one consumer, as in version 3.9. Consuming the queue again gives
    its messages to the new callback, and the consumer then belongs to both groups.

    Args:
        supervisor: Keeps the consumers alive.
        callback: Called, or awaited, with each message.
        queues: The queues with their bindings, in the order in which they are declared.
        qos: Prefetch of each consumer.
        shared: Whether the connection is shared, see above.
        options: How to consume, and the policy for messages.
        make_runner: Makes the runner of the callback, unless ``options`` has a policy; by default a runner in
            this event loop or a thread.

    Raises:
        ConfigurationException: The file of the policy's ``dedupe`` cannot be used.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        callback: Callable[[Message], Any],
        queues: Sequence[tuple[QueueOptions, Sequence[BindingOptions]]],
        qos: QosOptions,
        *,
        shared: bool = False,
        options: ConsumerOptions | None = None,
        make_runner: Callable[[Consumer], Runner] | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._callback = callback
        self._shared = shared
        options = options or ConsumerOptions()
        make = make_runner or runner_for(callback)
        if options.has_policy:
            make = self._policy_runner(options)
            if qos.prefetch_count:
                qos = qos._replace(prefetch_count=max(qos.prefetch_count, options.concurrency))
        self.consumers: list[Consumer] = [
            Consumer(make, queue, bindings, qos, options) for queue, bindings in queues
        ]

    def _policy_runner(self, options: ConsumerOptions) -> Callable[[Consumer], Runner]:
        def make(consumer: Consumer) -> Runner:
            quorum = consumer.queue.arguments.get("x-queue-type") == "quorum"
            redelivery = Redelivery(self._supervisor, quorum)
            seen = SeenMessages(options.dedupe) if options.dedupe is not None else None
            return PolicyRunner(self._callback, consumer, options, redelivery, seen)

        return make

    async def start(self) -> None:
        """Register all consumers; if one cannot be registered, stop the others.

        Raises:
            BadDeclaration: The broker refuses a queue or binding.
            PermissionException: The broker refuses to let us read a queue.
            ConnectionException: The broker refuses us.
            NoFreeChannels: No channel is left.
        """
        try:
            for position, consumer in enumerate(self.consumers):
                self.consumers[position] = await self._start(consumer)
        except BaseException:
            await self.stop()
            raise

    async def _start(self, consumer: Consumer) -> Consumer:
        if self._shared and consumer.queue.name:
            running = self._supervisor.consumer_of(consumer.queue.name)
            if running is not None and isinstance(running.runner, CallbackRunner):
                await self._supervisor.with_connection(
                    lambda connection: running.extend(connection, consumer.queue, consumer.bindings)
                )
                running.runner.replace_callback(self._callback)
                return running
        await self._supervisor.consume(consumer)
        return consumer

    async def wait(self) -> BaseException | None:
        """Wait until all have ended; if one fails, stop the others. Returns its error, or ``None``."""
        results = [consumer.result for consumer in self.consumers]
        if not results:
            return None
        await asyncio.wait(results, return_when=asyncio.FIRST_EXCEPTION)
        await self.stop()
        errors = (result.exception() for result in results)
        return next((error for error in errors if error is not None), None)

    async def stop(self) -> None:
        """Let running callbacks end, acknowledge them, and unsubscribe."""
        for consumer in self.consumers:
            consumer.halt()
        await asyncio.gather(*[consumer.stop() for consumer in self.consumers])


def runner_for(callback: Callable[[Message], Any]) -> Callable[[Consumer], Runner]:
    """Choose the runner for a callback."""

    def make(consumer: Consumer) -> Runner:
        arguments = (callback, consumer.stats, consumer.report, consumer.is_stale, consumer.fail)
        if is_coroutine_callback(callback):
            return CoroutineRunner(*arguments)
        return ThreadRunner(*arguments, consumer.queue_name)

    return make
