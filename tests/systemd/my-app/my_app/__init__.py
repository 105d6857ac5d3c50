"""An application that consumes."""
