"""Train the network on the pictures of dataset.py; resumable, with a file of every epoch that others want to see.

    python -m stylogram_training.train DATA OUT [--epochs 64] [--steps 100] [--batch 32] [--rate 2e-3] [--seed 0]
        [--device cpu]

OUT/state.pt is written after every epoch and taken up again; OUT/epoch-NN.pt are kept for the epochs in KEPT;
OUT/curve.jsonl has a line an epoch.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .filters import first_filters
from .network import FIRST, WIDTHS, Body, Heads

KEPT = (1, 2, 5, 10, 20, 30, 40, 64)
CROP = 96
LABEL = 4  # pixels a label
SLOWLY = 0.02  # of the rate: of the first filters, which begin as what they are to be
PATCHES = 40_000  # for them, from LOOKED crops
LOOKED = 512


class Crops:
    """Random crops of the scenes, turned over and in other light at times."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.facts = json.loads((directory / "dataset.json").read_text())
        names = ("picture", "texture", "shape", "edge", "direction")
        self._arrays = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in names}
        self._seed = seed

    def batch(self, step: int, count: int, crop: int = CROP) -> tuple[Tensor, dict[str, Tensor]]:
        """Pictures (count,3,crop,crop) in [-1,1] and their labels: the same for the same step."""
        rng = np.random.default_rng([self._seed, 3, step])
        picture, texture = self._arrays["picture"], self._arrays["texture"]
        made: dict[str, list[np.ndarray]] = {name: [] for name in self._arrays}
        for index in rng.integers(0, len(picture), count):
            y, x = rng.integers(0, (picture.shape[1] - crop) // 8 + 1, 2) * 2  # in labels: edges have their own
            size = crop // LABEL
            cut = {
                "picture": picture[index, y * 4 : y * 4 + crop, x * 4 : x * 4 + crop],
                "texture": texture[index, y : y + size, x : x + size],
                "shape": self._arrays["shape"][index, y : y + size, x : x + size],
                "edge": self._arrays["edge"][index, y * 2 : y * 2 + size * 2, x * 2 : x * 2 + size * 2],
                "direction": self._arrays["direction"][index, :, y : y + size, x : x + size],
            }
            if rng.random() < 0.5:
                cut = {name: value[..., ::-1] if name != "picture" else value[:, ::-1] for name, value in cut.items()}
                cut["direction"] = cut["direction"] * np.array([1, -1], np.int8)[:, None, None]
            for name, value in cut.items():
                made[name].append(value)
        x = torch.from_numpy(np.stack(made.pop("picture"))).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        labels = {name: torch.from_numpy(np.stack(values)) for name, values in made.items()}
        return _other_light(x, rng), labels


def _other_light(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Contrast, brightness and a colour cast, one each a picture."""
    count = len(x)
    contrast = torch.from_numpy(np.exp(0.15 * rng.standard_normal((count, 1, 1, 1))).astype(np.float32))
    shift = torch.from_numpy((0.1 * rng.standard_normal((count, 1, 1, 1))).astype(np.float32))
    cast = torch.from_numpy((0.05 * rng.standard_normal((count, 3, 1, 1))).astype(np.float32))
    return (x * contrast + shift + cast).clamp(-1, 1)


class Training:
    """Body, heads, optimiser and where they are."""

    def __init__(self, given: argparse.Namespace) -> None:
        torch.manual_seed(given.seed)
        self.given, self.crops = given, Crops(given.data, given.seed)
        self.device = torch.device(given.device)
        self.body = Body().to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.heads = Heads(len(self.crops.facts["classes"])).to(self.device)
        parameters = [*self.body.parameters(), *self.heads.parameters()]
        first = self.body.conv1_1.weight
        groups = [{"params": [first], "share": SLOWLY}, {"params": parameters[1:], "share": 1.0}]
        self.optimiser = torch.optim.AdamW(groups, given.rate, weight_decay=0.02)
        self.parameters: list[nn.Parameter] = parameters
        self.epoch = 0
        self.seconds = 0.0
        self.steps = 0
        self._resume()

    def _begin(self) -> None:
        """The first filters are components of the pictures, not noise."""
        looked = self.crops.batch(3 * 10**6, LOOKED)[0].numpy()
        filters = first_filters(looked, WIDTHS[0][0], FIRST, PATCHES, self.given.seed)
        with torch.no_grad():
            self.body.conv1_1.weight.copy_(filters)

    def _resume(self) -> None:
        file = self.given.out / "state.pt"
        if not file.exists():
            self._begin()
            return
        state = torch.load(file, map_location=self.device, weights_only=True)
        self.body.load_state_dict(state["body"])
        self.heads.load_state_dict(state["heads"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.seconds, self.steps = state["epoch"], state["seconds"], state["steps"]

    def save(self) -> None:
        """After an epoch, under temporary names that are then changed."""
        out: Path = self.given.out
        weights = {"body": self.body.state_dict(), "heads": self.heads.state_dict(), "epoch": self.epoch}
        weights |= {"classes": self.crops.facts["classes"], "seconds": self.seconds, "seed": self.given.seed}
        weights |= {"steps": self.steps, "batch": self.given.batch, "torch": str(torch.__version__)}
        if self.epoch in KEPT or self.epoch == self.given.epochs:
            torch.save(weights, out / "part.pt")
            (out / "part.pt").rename(out / f"epoch-{self.epoch:02}.pt")
        state = {**weights, "optimiser": self.optimiser.state_dict()}
        torch.save(state, out / "part.pt")
        (out / "part.pt").rename(out / "state.pt")

    def run(self) -> None:
        """All epochs that are still to come."""
        while self.epoch < self.given.epochs:
            start = time.monotonic()
            sums: dict[str, float] = {}
            for step in range(self.given.steps):
                self._set_rate((self.epoch + step / self.given.steps) / self.given.epochs)
                for name, value in self._step().items():
                    sums[name] = sums.get(name, 0.0) + value / self.given.steps
            self.epoch += 1
            self.seconds += time.monotonic() - start
            line = {"epoch": self.epoch, "seconds": round(self.seconds, 1)}
            line |= {name: round(value, 4) for name, value in sums.items()}
            with (self.given.out / "curve.jsonl").open("a") as file:
                print(json.dumps(line), file=file)
            self.save()

    def _set_rate(self, done: float) -> None:
        """A cosine's arch (Smith and Topin 2017): up to the full rate in the first twentieth, then down to nothing."""
        share = min(done / 0.05, 1) if done < 0.05 else (1 + math.cos(math.pi * (done - 0.05) / 0.95)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = self.given.rate * group["share"] * max(share, 0.01)

    def _step(self) -> dict[str, float]:
        x, labels = self.crops.batch(self.steps, self.given.batch)
        self.steps += 1
        x = x.to(self.device, memory_format=torch.channels_last)
        labels = {name: value.to(self.device) for name, value in labels.items()}
        with torch.autocast(self.device.type, torch.bfloat16):
            features = self.body(x)
            found = {name: (weight, value) for name, weight, value in self.heads.losses(features, labels)}
        loss = torch.stack([weight * value for weight, value in found.values()]).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimiser.step()
        return {name: float(value.detach()) for name, (_, value) in found.items()}


def main() -> None:
    """The command line."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("data", type=Path)
    ask.add_argument("out", type=Path)
    ask.add_argument("--epochs", type=int, default=64)
    ask.add_argument("--steps", type=int, default=100)
    ask.add_argument("--batch", type=int, default=32)
    ask.add_argument("--rate", type=float, default=2e-3)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--device", default="cpu")
    given = ask.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    Training(given).run()


if __name__ == "__main__":
    main()
