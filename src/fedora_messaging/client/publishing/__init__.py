"""From a message to the broker's confirm."""
