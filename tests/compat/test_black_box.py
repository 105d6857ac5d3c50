"""The black-box compatibility suite, run against both brokers.

It is kept outside this repository, so that an implementation cannot bend it; `FM_COMPAT_TESTS` names its
folder, by default one beside this checkout.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import BrokerUnderTest
from tests.support.servers import require

ROOT = Path(__file__).resolve().parents[2]
SUITE = Path(os.environ.get("FM_COMPAT_TESTS", ROOT.parent / "shared" / "compat_tests"))


@pytest.mark.timeout(600)
def test_black_box(broker: BrokerUnderTest, tmp_path: Path) -> None:
    require(SUITE.is_dir(), "The compatibility suite", "set FM_COMPAT_TESTS to its folder")
    environment = {**os.environ, "FM_TEST_AMQP_URL": broker.url}
    if broker.management_url is not None:
        environment["FM_TEST_MGMT_URL"] = broker.management_url
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--rootdir={SUITE}",
        str(SUITE),
    ]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=590, check=False
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    if broker.management_url is not None:
        assert "skipped" not in run.stdout.splitlines()[-1]
