"""One AMQP connection, its channels, and what is declared over them."""
