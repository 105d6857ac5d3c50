"""What a consumer's settings ask for: retries, time limits, dead letters, no message twice."""
