import json
import subprocess
import sys

import pytest


@pytest.fixture(scope="package")
def drills(tmp_path_factory):
    """Run every drill, in a process of its own that forks its victims; return its report."""
    folder = tmp_path_factory.mktemp("drills")
    command = [sys.executable, "-m", "tests.trading.drills", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
