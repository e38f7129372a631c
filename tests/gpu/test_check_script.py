"""scripts/gpu_check.sh says why it does nothing where there is no GPU."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU: it takes minutes")
def test_without_a_gpu_it_ends_with_the_reason(tmp_path):
    done = subprocess.run(
        ["bash", "scripts/gpu_check.sh"], cwd=ROOT, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "GPU_CHECK_WORK": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 3
    assert "gpu" in done.stdout
    assert "skipped" in done.stdout
    assert "no GPU" in done.stdout
