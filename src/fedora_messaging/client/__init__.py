"""The asyncio client: one supervised connection, a publisher and any number of consumers on it."""
