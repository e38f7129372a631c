"""scripts/gpu_check.sh, with programs in place of those that a GPU machine has: every step is done, in its time."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "nvidia-smi": 'case "$*" in *compute_cap*) echo 9.0 ;; *) echo "GPU 0: Some GPU (UUID)" ;; esac',
    "nvcc": "echo release 13",
    "ninja": "exit 1",
    "cmake": 'echo "cmake $*" >>"$SEEN"; [[ $1 == -S ]] || touch "$GPU_CHECK_WORK"/build/{_core.so,_cuda.so}',
    "compute-sanitizer": 'echo "$*" >>"$SEEN"',
    "some-python": """
echo "python $*" >>"$SEEN"
case "$*" in
  *"-m pytest"*test_cuda_ops*) exit "${OPS:-0}" ;;
  *"-m stylogram_bench.gpu"*) sleep "${BENCH:-0}"; printf 'before\\nours and PyTorch\\n  tf32: 1\\n' ;;
  *"-m pytest"*) echo "7 passed" ;;
  *glob*) echo /some/nvidia/lib ;;
esac
""",
}


@pytest.fixture
def check(tmp_path):
    """Runs a copy of the script with some steps, some seconds and other words of the environment."""
    tree, programs, seen = tmp_path / "tree", tmp_path / "bin", tmp_path / "seen"
    for part in ("scripts", "engine/stylogram", "export/stylogram_export", "bench/stylogram_bench", ".gpu/wheels"):
        (tree / part).mkdir(parents=True)
    shutil.copy(ROOT / "scripts/gpu_check.sh", tree / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tree)
    subprocess.run(["tar", "-cJf", tree / ".gpu/ort-gpu.tar.xz", "-C", tree, "scripts"], check=True)
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (programs / name).chmod(0o755)

    def run(*steps, gpu=True, **words):
        if not gpu:
            (programs / "nvidia-smi").unlink()
        work = tmp_path / "work"
        (work / "build").mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": f"{programs}:/usr/bin:/bin", "GPU_CHECK_WORK": str(work), "SEEN": str(seen), "OUT": str(tmp_path),
            "PYTHON": "some-python", **words,
        }  # fmt: skip
        seen.write_text("")
        done = subprocess.run(
            ["bash", "scripts/gpu_check.sh", *steps], cwd=tree, capture_output=True, text=True, env=environment
        )
        rows = [line.split(None, 4) for line in done.stdout.splitlines() if line.split()[3:4] == ["s"]]
        return done, {row[0]: row[1] for row in rows}, seen.read_text()

    return run


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU: it takes minutes")
def test_without_a_gpu_it_ends_with_the_reason(check):
    done, states, _ = check(gpu=False)
    assert done.returncode == 3
    assert states == {"gpu": "skipped"}
    assert "no GPU" in done.stdout


def test_every_step_is_done(check, tmp_path):
    done, states, seen = check()
    steps = ["gpu", "build", "onnxruntime", "kernels", "ops", "runs", "bench", "memcheck", "racecheck"]
    assert states == dict.fromkeys(steps, "ok"), done.stdout
    assert list(states) == steps
    assert done.returncode == 0
    assert "-DSTYLOGRAM_CUDA_ARCHITECTURES=90-real" in seen
    for file in ("test_cuda.py", "test_cuda_last.py", "test_cuda_ops.py", "tests/gpu/test_runs.py"):
        assert f"python -m pytest -q -W default --tb=short --maxfail=15 tests/{'kernels/' * ('/' not in file)}" in seen
        assert file in seen
    assert "stylogram_bench.gpu --seconds 2" in seen  # two hundred and more
    assert "--tool racecheck" in seen
    assert "ours and PyTorch\n  tf32: 1\n" in done.stdout
    assert "before" not in done.stdout
    logs = subprocess.run(["tar", "-tzf", tmp_path / "logs.tar.gz"], capture_output=True, text=True, check=True).stdout
    assert set(logs.split()) >= {f"log.{name}" for name in steps}


def test_some_steps_and_one_that_fails(check):
    done, states, seen = check("ops", "bench", OPS="1")
    assert states == {"gpu": "ok", "build": "ok", "onnxruntime": "ok", "ops": "failed", "bench": "ok"}
    assert done.returncode == 1
    assert "racecheck" not in seen


def test_what_takes_too_long_is_ended(check):
    done, states, _ = check("bench", "memcheck", GPU_CHECK_SECONDS="12", BENCH="60")
    assert states == {"gpu": "ok", "build": "ok", "onnxruntime": "ok", "bench": "failed", "memcheck": "skipped"}
    assert "not done within 1" in done.stdout
    assert "no time is left" in done.stdout
