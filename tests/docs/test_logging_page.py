"""docs/how-to/logging.md: the formatter and the configuration give lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.printed import Page

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import logging
from fedora_messaging import config
config.conf.load_config("my-app.toml")
config.conf.setup_logging()
log = logging.getLogger("fedora_messaging.test")
log.debug("no")
log.info("a %s", "line")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it failed")
"""


def test_lines_are_json(tmp_path: Path) -> None:
    page = Page("docs/how-to/logging.md")
    for name in ("my_app_logs.py", "my-app.toml"):
        (tmp_path / name).write_text(page.file(name), encoding="utf-8")
    page.finished()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, text=True, capture_output=True, check=True
    )
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("INFO", "fedora_messaging.test", "a line")
    assert second["message"] == "it failed"
    assert "ZeroDivisionError" in second["exception"]
