"""One AMQP connection, its channels, and the declarations of exchanges, queues and bindings."""
