"""What a running program tells of itself: over HTTP, to Prometheus, to systemd."""
