"""A batch that is killed again and again, at random moments, makes every picture once and none by half."""

import json
import random
import signal
import subprocess
import sys
import time

from stylogram import pictures
from stylogram_export.network import save

from engine import nets

COUNT = 15
# Says a word for every iteration and every picture: the kill comes after a random number of them, so that it falls into
# the work, on slow and fast machines alike, and a little later, so that it falls between any two instructions.
BATCH = """
import stylogram
look = lambda progress: print("more", flush=True)
made = stylogram.batch("jobs.csv", output="out", batch=3, network="net.onnx", size=48, iterations=25, callback=look)
print(made.done, made.kept, len(made.failures), flush=True)
"""
WORDS = 120  # at most, before a kill; a group of three says 29, in two parts 55


def test_kill_9(tmp_path, capsys):
    for number in range(4):
        pictures.write(tmp_path / f"c{number}.png", nets.blocks(36, 48, number + 1))
    pictures.write(tmp_path / "s.png", nets.blocks(40, 40, 7, cell=2))
    save(nets.narrow(), tmp_path / "net.onnx")
    rows = [f"c{number % 4}.png,s.png,deep/{number}.png,{number}" for number in range(COUNT)]
    (tmp_path / "jobs.csv").write_text("content,style,output,seed\n" + "\n".join(rows))
    moments = random.Random(1)
    kills, done, said = 0, [], []
    for _ in range(60):
        command = [sys.executable, "-c", BATCH]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(moments.randint(1, WORDS)):
                process.stdout.readline()
            time.sleep(moments.uniform(0, 0.02))
            process.kill()
            said = process.stdout.read().splitlines()[-1:]
            kills += process.wait() == -signal.SIGKILL
        done.append(len(_lines(tmp_path)))
        assert all(pictures.read(path).rgb.shape == (36, 48, 3) for path in (tmp_path / "out/deep").glob("*.png"))
        if done[-1] == COUNT:
            break
    with capsys.disabled():
        print(f"\n{kills} kills; pictures done after each: {done}; the last said {said}", end="")
    assert kills >= 3
    assert any(0 < count < COUNT for count in done)
    made = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    assert all(row["error"] is None for row in made)
    assert sorted(row["output"] for row in made) == sorted(f"deep/{number}.png" for number in range(COUNT))
    assert len({row["job"] for row in made}) == COUNT
    last = subprocess.run([sys.executable, "-c", BATCH], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert last.stdout.split() == ["0", str(COUNT), "0"]  # nothing is left to do
    assert sorted(path.name for path in (tmp_path / "out/deep").glob("*.png")) == sorted(
        f"{number}.png" for number in range(COUNT)
    )


def _lines(folder):
    """The whole lines there are."""
    path = folder / "out/results.jsonl"
    return path.read_bytes().splitlines(keepends=True)[: path.read_bytes().count(b"\n")] if path.exists() else []


def test_ctrl_c_on_the_command_line(tmp_path):
    pictures.write(tmp_path / "c.png", nets.blocks(36, 48, 1))
    pictures.write(tmp_path / "s.png", nets.blocks(40, 40, 7, cell=2))
    save(nets.narrow(), tmp_path / "net.onnx")
    rows = [f"c.png,s.png,{number}.png,{number},{5 if not number else 100000}" for number in range(4)]
    (tmp_path / "jobs.csv").write_text("content,style,output,seed,iterations\n" + "\n".join(rows))
    options = ["--network", "net.onnx", "--size", "48", "--batch", "1"]
    main = "import sys; from stylogram.entry import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "batch", "jobs.csv", "-o", "out", *options]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not _lines(tmp_path) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait() == 130
    assert said == "interrupted: 1 of 4 pictures are done; the same command goes on\n"
    assert [json.loads(line)["output"] for line in _lines(tmp_path)] == ["0.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "results.jsonl"]
