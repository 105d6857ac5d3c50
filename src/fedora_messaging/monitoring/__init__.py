"""Reports the state of a running program: over HTTP, to Prometheus and to systemd."""
