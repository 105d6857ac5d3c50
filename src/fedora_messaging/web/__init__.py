"""What is served over HTTP: the broker's management API, and the web application."""
