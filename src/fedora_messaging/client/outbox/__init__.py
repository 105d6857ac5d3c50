"""The outbox: messages are stored in a table first, and a sender publishes what is in it."""
