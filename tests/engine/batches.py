"""What the tests of batches share: pictures, a network, jobs of them, and the lines of the results."""

import json

from stylogram import pictures
from stylogram_export.network import save

from engine import nets

FAST = {"network": "net.onnx", "size": 48, "iterations": 6}
ARGUMENTS = ["--network", "net.onnx", "--size", "48", "--iterations", "6", "--quiet"]
# One step of 8 bits. A batch's convolutions may add up in another order, and L-BFGS widens that a little.
STEP = 1.01 / 255


def furnish(folder):
    """Three wide contents c0 to c2 and a square one, two styles and a narrow network."""
    for number in range(3):
        pictures.write(folder / f"c{number}.png", nets.blocks(36, 48, number + 1))
    pictures.write(folder / "square.png", nets.blocks(48, 48, 5))
    pictures.write(folder / "s0.png", nets.blocks(40, 40, 7, cell=2, tint=(1, 0.3, 0.1)))
    pictures.write(folder / "s1.png", nets.blocks(44, 40, 8, cell=5, tint=(0.1, 0.4, 1)))
    save(nets.narrow(), folder / "net.onnx")


def jobs(here, *rows):
    """jobs.jsonl of these rows; content and style of a row may be left out."""
    rows = [{"content": "c0.png", "style": "s0.png", **row} for row in rows]
    (here / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "jobs.jsonl"


def lines(where="out"):
    with open(f"{where}/results.jsonl") as file:
        return [json.loads(line) for line in file]


def rgb(path):
    return pictures.read(path).rgb


def four(here):
    return jobs(here, *({"content": f"c{k % 3}.png", "style": f"s{k % 2}.png", "output": f"{k}.png"} for k in range(4)))
