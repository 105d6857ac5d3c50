"""Outcomes of Deferreds that must have fired already, for tests without a reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

ErrorT = TypeVar("ErrorT", bound=BaseException)


def result_of(deferred: Deferred[Any]) -> Any:
    """The result with which it has fired."""
    results, failures = _outcome(deferred)
    assert not failures, failures
    [result] = results
    return result


def error_of(deferred: Deferred[Any], kind: type[ErrorT]) -> ErrorT:
    """The error with which it has failed."""
    _results, failures = _outcome(deferred)
    [error] = failures
    assert isinstance(error, kind), repr(error)
    return error


def _outcome(deferred: Deferred[Any]) -> tuple[list[Any], list[BaseException]]:
    results: list[Any] = []
    failures: list[BaseException] = []

    def succeeded(result: Any) -> None:
        results.append(result)

    def failed(failure: Failure) -> None:
        assert failure.value is not None
        failures.append(failure.value)

    deferred.addCallbacks(succeeded, failed)
    assert deferred.called, "it has not fired"
    return results, failures
