"""The web application: pages about a bus, and HTTP interfaces to its archive.

It is a client of the broker's management API and of an archive. It never talks AMQP, and knows the insides
of no broker.
"""
