"""What is served over HTTP: the broker's management API, and the web application."""

from .broker_site import BrokerSite
from .server import HttpServer, HttpServerError

__all__ = ["BrokerSite", "HttpServer", "HttpServerError"]
