"""Kills ``fedora-messaging broker --data`` again and again while other people's clients use it.

``python -m tests.faults.kills --kills 100``. Each client publishes with confirms to a queue of its own, and a
consumer acknowledges what it gets. In the end every message that was confirmed must have arrived.
"""
