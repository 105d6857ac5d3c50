"""Kills publishers that share an outbox, and their broker, at random points, and counts what is lost (P17).

``python -m tests.faults.outbox --kills 100 --broker embedded``. Publishers are processes that use the library
as applications do, from threads, from forked children and in transactions of their own; what they were told
is in files that survive ``kill -9``. In the end every message that was accepted must have arrived.
"""
