"""The outbox: it stores messages in a table first, and a sender publishes them from there."""
