"""Real pictures and an ImageNet network, judged by that network: strokes, and the content still there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from stylogram.cli import main

SHARED = Path(os.environ.get("STYLOGRAM_SHARED", "../shared")) / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared pictures and network are not here (STYLOGRAM_SHARED)")
def test_the_starry_night_over_tuebingen(tmp_path):
    """256 px, 200 iterations, default weights: style distance at most 0.02, content distance at most 1."""
    content, style = (str(SHARED / "pictures" / name) for name in ("tubingen.jpg", "starry_night.jpg"))
    out = str(tmp_path / "out.png")
    network = ["--network", str(SHARED / "models" / "squeezenet1_0.onnx"), "--preprocess", "caffe"]
    assert (
        main(["stylize", content, style, "-o", out, *network, "--size", "256", "--iterations", "200", "--quiet"]) == 0
    )
    judge = [sys.executable, str(SHARED / "judge_style.py"), style, content, out]
    said = subprocess.run(judge, capture_output=True, text=True, check=True).stdout
    found = re.search(r"style ([\d.]+) content ([\d.]+)", said)
    assert found
    assert float(found[1]) <= 0.02
    assert float(found[2]) <= 1.0
