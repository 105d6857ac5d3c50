"""The policy that a consumer's settings ask for: retries, time limits, dead letters and no duplicates."""
