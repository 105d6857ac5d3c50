"""Where a broker keeps durable things."""
