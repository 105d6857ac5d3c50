"""The storage of a broker's durable data."""
