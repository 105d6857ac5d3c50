"""The configuration: its types, defaults and checks, and its conversion into options for the engine."""
