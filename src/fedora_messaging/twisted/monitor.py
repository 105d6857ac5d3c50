"""HTTP endpoints that report the application's state to a service manager, served by its reactor."""

from typing import TYPE_CHECKING, Any

from twisted.application.internet import TCPServer
from twisted.web.resource import Resource
from twisted.web.server import Site

from ..monitoring import endpoints
from ..monitoring.endpoints import Answer

if TYPE_CHECKING:
    from twisted.web.server import Request

    from .service import FedoraMessagingServiceV2


class FMServiceResource(Resource):
    """An endpoint that reports on a service; it ignores further parts of the path."""

    isLeaf = True

    def __init__(self, fm_service: "FedoraMessagingServiceV2") -> None:
        super().__init__()
        self._fm_service = fm_service

    def render_GET(self, request: "Request") -> bytes:
        """Answer a request."""
        answer = self._answer()
        request.setResponseCode(answer.status)
        request.setHeader("Content-Type", answer.content_type)
        return answer.body

    def render_HEAD(self, request: "Request") -> bytes:
        """Answer as to GET, without the body; Twisted would log a warning about it."""
        request.setHeader("Content-Length", str(len(self.render_GET(request))))
        return b""

    def _answer(self) -> Answer:
        raise NotImplementedError


class Live(FMServiceResource):
    """Answers as long as the reactor responds."""

    def _answer(self) -> Answer:
        return endpoints.live(alive=True)


class Ready(FMServiceResource):
    """Answers with the counters; the status is 503 while messages cannot arrive."""

    def _answer(self) -> Answer:
        return endpoints.ready(self._fm_service.factory.snapshot())


class Status(FMServiceResource):
    """Answers with the complete state."""

    def _answer(self) -> Answer:
        return endpoints.status(self._fm_service.factory.snapshot())


class Metrics(FMServiceResource):
    """Answers with the complete state in the format of Prometheus."""

    def _answer(self) -> Answer:
        return endpoints.metrics(self._fm_service.factory.snapshot())


_ENDPOINTS = {b"live": Live, b"ready": Ready, b"status": Status, b"metrics": Metrics}


class MonitoringSite(Site):
    """Serves the endpoints, without an access log."""

    def __init__(self, fm_service: "FedoraMessagingServiceV2") -> None:
        root = Resource()
        for name, endpoint in _ENDPOINTS.items():
            child: Any = endpoint(fm_service)
            root.putChild(name, child)
        super().__init__(root)

    def log(self, request: Any) -> None:
        """Log nothing: these requests come every few seconds."""


def monitor_service(fm_service: "FedoraMessagingServiceV2", *, address: str, port: int) -> TCPServer:
    """Serve the endpoints as long as a service runs; return the server, a child service named ``monitoring``.

    Args:
        fm_service: The service; it becomes the parent of the server.
        address: Address to listen on; empty means all.
        port: TCP port.
    """
    server = TCPServer(port, MonitoringSite(fm_service), interface=address)
    server.setName("monitoring")
    server.setServiceParent(fm_service)
    return server
