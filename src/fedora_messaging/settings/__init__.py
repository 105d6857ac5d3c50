"""The configuration: its types and defaults, its checks, and what the engine is handed of it."""
