"""Publishing: the way of a message to the broker, and of the confirm back."""
