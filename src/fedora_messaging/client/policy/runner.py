"""Running callbacks under a policy: several at once, with a time limit, retries and a dead-letter queue."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ...exceptions import BaseException as LibraryException
from ...exceptions import EncodingError, PermissionException
from ...logs import CONSUMER, logger
from ...message import Message
from ...options import ConsumerOptions
from ...printable import explained
from ..consuming.delivery import Invalid, Raw, receive_aside
from ..consuming.runner import CallbackRunner, is_coroutine_callback
from ..consuming.task_state import cancellations, forget_cancellations, is_torn_down, watch
from ..consuming.verdict import ACKED, REFUSED, Action, Verdict, raised, succeeded
from .caller import _Caller
from .decision import Decision, decide
from .dedupe import Claim, SeenMessages
from .redelivery import Redelivery

if TYPE_CHECKING:
    from ..consuming.consumer import Consumer

_log = logger(CONSUMER)

#: Pauses between attempts to publish a copy that the broker refuses.
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0)

#: Seconds between two checks whether the duplicate of a message was processed.
_CLAIM_PAUSE: Final = 0.05

#: The reasons in the history of messages that are kept.
_REASONS: Final = {Decision.GIVE_UP: "exhausted", Decision.KEEP: "failed"}


class _Job:
    """A delivery on its way to a callback."""

    __slots__ = ("key", "message", "raw")

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.message: Message | Invalid | None = None
        self.key: Hashable = None


class PolicyRunner(CallbackRunner):
    """Hands deliveries to workers; their number is that of the callbacks that may run at once.

    Each worker awaits coroutine callbacks, or has a thread for plain ones.

    Args:
        callback: The application's callback.
        consumer: The consumer of the deliveries.
        options: The policy.
        redelivery: Publishes the copies of messages that are tried again or kept.
        seen: Remembers which messages were processed; ``None`` if duplicates do not matter.
        pauses: Seconds between attempts to publish a copy that the broker refuses; after the last one
            consuming ends.
    """

    in_order = False

    def __init__(
        self,
        callback: Callable[[Message], Any],
        consumer: "Consumer",
        options: ConsumerOptions,
        redelivery: Redelivery,
        seen: SeenMessages | None,
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        super().__init__(callback, consumer.stats, consumer.report, consumer.is_stale, consumer.fail)
        self._is_coroutine = is_coroutine_callback(callback)
        self._consumer = consumer
        self._options = options
        self._redelivery = redelivery
        self._seen = seen
        self._pauses = pauses
        self._halted = asyncio.Event()
        self._waiting: deque[_Job] = deque()
        # With an ordering key a message must be decoded before it can be put in order.
        self._unread: asyncio.Queue[Raw] = asyncio.Queue()
        self._busy: set[Hashable] = set()
        self._arrival = asyncio.Event()
        self._stopping = False
        self._workers: list[asyncio.Task[None]] = []
        self._reader: asyncio.Task[None] | None = None
        self._preparing: asyncio.Task[None] | None = None

    def replace_callback(self, callback: Callable[[Message], Any]) -> None:
        """Give the following messages to another callback."""
        self._callback = callback
        self._is_coroutine = is_coroutine_callback(callback)

    # Called by the consumer

    def start(self) -> None:
        """Begin to process deliveries."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._options.concurrency)]
        workers = [*self._workers]
        if self._options.dead_letter is not None:
            self._preparing = asyncio.create_task(self._prepare(self._options.dead_letter))
        if self._options.ordering_key is not None:
            self._reader = asyncio.create_task(self._read(self._options.ordering_key))
            workers.append(self._reader)
        for worker in workers:
            watch(worker, lambda: self._stopping, self._fail)

    async def _prepare(self, dead_letter: str) -> None:
        """Declare the dead-letter queue, so that a problem shows before the first message needs it."""
        try:
            await self._redelivery.prepare(dead_letter)
        except LibraryException as error:
            _log.error(
                "The dead-letter queue %r is not there, and we cannot declare it: %s. Declare it, "
                "or give this user the permission",
                dead_letter,
                explained(error),
            )

    def put(self, raw: Raw) -> None:
        """Add a delivery; it is processed when its turn comes."""
        if self._options.ordering_key is not None:
            self._unread.put_nowait(raw)
        else:
            self._add(_Job(raw))

    def _add(self, job: _Job) -> None:
        self._waiting.append(job)
        self._arrival.set()

    def halt(self) -> None:
        """Begin no more callbacks."""
        self._stopping = True
        self._halted.set()
        self._waiting.clear()
        for task in (self._reader, self._preparing):
            if task is not None:
                task.cancel()
        self._arrival.set()

    async def finish(self) -> None:
        """Begin no more callbacks, and let the running ones end."""
        self.halt()
        others = [worker for worker in self._workers if worker is not asyncio.current_task()]
        try:
            if others:
                await asyncio.wait(others)
        finally:
            if self._seen is not None:
                await self._seen.close()

    def abandon(self) -> None:
        """Cancel running coroutines, and leave threads running, which are daemons."""
        for worker in self._workers:
            worker.cancel()

    # Choosing the next delivery

    async def _read(self, ordering_key: Callable[[Message], Hashable]) -> None:
        while True:
            job = _Job(await self._unread.get())
            if self._consumer.is_stale(job.raw):
                continue
            job.message = await receive_aside(job.raw, self._stats)
            if isinstance(job.message, Message):
                job.key = _key_of(job.message, ordering_key)
            self._add(job)

    def _take(self) -> _Job | None:
        """Remove the first delivery whose key is free."""
        for position, job in enumerate(self._waiting):
            if job.key is None or job.key not in self._busy:
                del self._waiting[position]
                return job
        return None

    async def _work(self) -> None:
        caller = _Caller(self._options.timeout, self._consumer.queue_name)
        try:
            while not self._stopping:
                job = self._take()
                if job is None:
                    self._arrival.clear()
                    await self._arrival.wait()
                    continue
                if not self._consumer.is_stale(job.raw):
                    await self._process(job, caller)
                    # Another worker may be waiting for this key, or for the end.
                    self._arrival.set()
        finally:
            caller.close()

    async def _process(self, job: _Job, caller: "_Caller") -> None:
        if job.key is not None:
            self._busy.add(job.key)
        try:
            verdict = await self._verdict(job, caller)
        except Exception as error:
            # A full disk, or a fault in this library: end consuming, which is visible, not just one worker.
            _log.exception("A message on queue %r could not be dealt with", job.raw.queue)
            verdict = (Action.REQUEUE, error)
        finally:
            self._busy.discard(job.key)
        if verdict[1] is not None:
            self._stopping = True
        self._consumer.report(job.raw, verdict)

    # Processing one delivery

    async def _verdict(self, job: _Job, caller: "_Caller") -> Verdict:
        message = await receive_aside(job.raw, self._stats) if job.message is None else job.message
        if isinstance(message, Invalid):
            return await self._quarantine(job, message.why)
        seen = self._seen if message.id else None
        if seen is not None:
            verdict = await self._claim(seen, job, message)
            if verdict is not None:
                return verdict
        before = cancellations()
        try:
            await caller.call(self._callback, self._is_coroutine, message)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and is_torn_down(before):
                raise
            await forget_cancellations(before)
            verdict = await self._failed(job, message, error)
            if seen is not None:
                await seen.release(job.raw.queue, message.id or "")
            return verdict
        await forget_cancellations(before)
        verdict = succeeded(message, self._stats)
        if seen is not None:
            await seen.add(job.raw.queue, message.id or "")
        return verdict

    async def _claim(self, seen: SeenMessages, job: _Job, message: Message) -> Verdict | None:
        """Wait for the right to process a message; a verdict means not to process it.

        While another worker or process handles a duplicate, it may still fail, so this call waits.
        """
        while (claim := await seen.claim(job.raw.queue, message.id or "")) is Claim.BUSY:
            if self._stopping or self._consumer.is_stale(job.raw):
                return Action.REQUEUE, None
            await asyncio.sleep(_CLAIM_PAUSE)
        if claim is Claim.OURS:
            return None
        self._stats.duplicates += 1
        _log.info("Message id %r was processed before; it is acknowledged", message.id)
        return ACKED

    async def _quarantine(self, job: _Job, explanation: str) -> Verdict:
        if self._options.dead_letter is None or job.raw.body is None:
            return REFUSED
        return await self._keep(job, "invalid", explanation)

    async def _failed(self, job: _Job, message: Message, error: BaseException) -> Verdict:
        stale = self._consumer.is_stale(job.raw)
        decision = decide(error, job.raw.history.attempts, self._options, stale=stale)
        if decision is Decision.LEAVE:
            return Action.REQUEUE, None
        if decision is Decision.RETRY:
            return await self._retry(job, message, error)
        if decision in _REASONS:
            return await self._keep(job, _REASONS[decision], error)
        action, end = raised(message, error, self._stats)
        # Other callbacks of this queue are still running, so only this message goes back now.
        return (Action.REQUEUE if action is Action.REQUEUE_ALL else action), end

    async def _retry(self, job: _Job, message: Message, error: BaseException) -> Verdict:
        retry = self._options.retry
        assert retry is not None  # checked by the caller
        history = job.raw.history.failed("retry", error)
        _log.warning(
            "The callback failed on message id %r (attempt %s of %s), which will be tried again: %s",
            message.id,
            history.attempts,
            retry.attempts,
            history.error,
        )
        keeps = self._options.dead_letter is not None
        verdict = await self._publish_copy(
            job,
            lambda: self._redelivery.retry(job.raw, history, retry),
            (EncodingError, PermissionException) if keeps else (EncodingError,),
        )
        if isinstance(verdict[1], EncodingError) or (verdict[1] is not None and keeps):
            # The message cannot be delayed.
            return await self._keep(job, "failed", error)
        self._stats.retried += verdict is ACKED
        return verdict

    async def _keep(self, job: _Job, reason: str, error: BaseException | str) -> Verdict:
        history = job.raw.history.failed(reason, error)
        _log.error(
            "A message on queue %r with topic %r is given up after %s attempts (%s): %s",
            job.raw.queue,
            history.topic,
            history.attempts,
            reason,
            history.error,
            exc_info=error if isinstance(error, BaseException) else None,
        )
        if reason != "invalid":
            self._stats.failed += 1
        queue = self._options.dead_letter
        if queue is None:
            return REFUSED
        verdict = await self._publish_copy(job, lambda: self._redelivery.dead_letter(job.raw, history, queue))
        self._stats.dead_lettered += verdict is ACKED
        return verdict

    async def _publish_copy(
        self,
        job: _Job,
        publish: Callable[[], Awaitable[None]],
        final: tuple[type[LibraryException], ...] = (EncodingError,),
    ) -> Verdict:
        """Publish a copy of a message, and return the verdict on the original.

        While the broker refuses the copy, the original stays unsettled, and the callback is not called again.
        When the broker has refused it too often, or the error is a final one, the verdict has the error. If
        the caller passes that verdict on, consuming ends and the original goes back to its queue.
        """
        pauses = iter(self._pauses)
        while True:
            try:
                await publish()
            except LibraryException as error:
                refusal = error
            else:
                return ACKED
            if self._consumer.is_stale(job.raw) or self._halted.is_set():
                return Action.REQUEUE, None
            pause = None if isinstance(refusal, final) else next(pauses, None)
            if pause is None:
                _log.error(
                    "A message on queue %r cannot be copied to another queue: %s",
                    job.raw.queue,
                    explained(refusal),
                )
                return Action.REQUEUE, refusal
            _log.error(
                "A message on queue %r stays in hand: the broker does not take its copy, which is offered "
                "again in %g s: %s",
                job.raw.queue,
                pause,
                explained(refusal),
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._halted.wait()


def _key_of(message: Message, ordering_key: Callable[[Message], Hashable]) -> Hashable:
    try:
        key = (ordering_key(message),)
        hash(key)
    except Exception:
        _log.exception("The ordering key of message id %r cannot be told", message.id)
        return None
    return key
