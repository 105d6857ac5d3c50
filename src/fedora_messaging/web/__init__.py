"""The broker over HTTP: RabbitMQ's management API, and metrics for Prometheus (needs the extra ``[web]``)."""

from .server import HttpServer, HttpServerError

__all__ = ["HttpServer", "HttpServerError"]
