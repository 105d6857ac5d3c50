"""A soak: real programs publish and consume while everything around them breaks, and a checker counts.

``python -m tests.faults.soak --minutes 10 --broker embedded``. Publishers and consumers are processes that
use the library as applications do, by way of proxies; what they did is in files that survive ``kill -9``. In
the end every message whose publish was confirmed must have been processed.
"""
