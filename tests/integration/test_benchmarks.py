from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("packages", "services", "sandbox")
    for path in (ROOT / folder).glob("**/benchmarks/*.py")
)
# The number that each takes: of rounds, chunks or single ones.
FEW = {
    "packages/runtime/benchmarks/delivery.py": 2,
    "services/recipients/benchmarks/cost.py": 6000,
    "services/router/benchmarks/hot_path.py": 1,
}


@pytest.mark.integration
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_service_s_own_benchmark_runs(script):
    few = str(FEW.get(script, 300))
    done = subprocess.run(
        [sys.executable, "-W", "error", script, few],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
