"""RabbitMQ's management HTTP API, one file for each kind of object."""
