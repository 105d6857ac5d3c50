"""``python -m fedora_messaging`` is the command ``fedora-messaging``."""

from .cli import cli

cli(prog_name="python -m fedora_messaging")
