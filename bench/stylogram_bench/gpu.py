"""Ours against PyTorch on one GPU: VGG-19 to conv5_1, Gatys' layers, 512x512, a whole iteration, by precision.

    python -m stylogram_bench.gpu --seconds 150 -o bench/results

PyTorch runs eager in channels_last and compiled with CUDA graphs, in TF32 and with its network in bfloat16 or float16,
with its own L-BFGS. The floor is the arithmetic: 378 GFLOP a picture and iteration over the rate that a large product
reaches here. The record is written after every case: what was measured is there, whatever the next one does.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stylogram import _core, devices, stylize
from stylogram.devices.arrays import Queue
from stylogram.devices.course import DeviceObjective
from stylogram.devices.graphs import TRIED
from stylogram.devices.sessions import DevicePass
from stylogram.tasks.stylize import Options, Stylization
from stylogram_export.models import vgg
from stylogram_export.network import Network
from stylogram_export.prepare import prepare
from stylogram_export.preprocess import PREPROCESS
from torch import Tensor

from . import compare
from .baseline import CONTENT_LAYER, STYLE_LAYERS, Features, gram, total_variation

SIZE = 512
GFLOP = 378.0 * (SIZE / 512) ** 2
PRECISIONS = ("tf32", "bf16", "fp16")
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ROUNDS, ITERATIONS = 5, 20
HISTORY = 40  # pairs of L-BFGS on both sides: our default
#: Layouts beside the one that is tried first.
OTHERS = {"last": "ONNX Runtime's channels last", "first": "channels first"}


class Ours:
    """Our iteration on the GPU, for one picture or for several that are alike."""

    def __init__(
        self, tensors: dict[str, Any], pair: list[Any], device: str, precision: str, pictures: int = 1,
        graphs: bool = True, layout: str = "", history: int = HISTORY,
    ) -> None:  # fmt: skip
        network = Network("vgg19", prepare(vgg.graph("vgg19", compare.STAGES, 4, tensors, "max")),
                          PREPROCESS["imagenet"], vgg.layers(compare.STAGES, 4))  # fmt: skip
        options = Options(
            network=network, content_weight=1.0, style_weight=1.0, tv_weight=1.0, scales=1, margin=0, size=SIZE,
            history=history, device=device, precision=precision, iterations=10**6,
        )  # fmt: skip
        work = Stylization(pair[0], [pair[1]], options)
        work.subjects *= pictures
        assert work.place is not None
        work.place = replace(work.place, graphs=graphs, layout=layout)
        stage = work.stage(0, None)
        assert isinstance(stage.objective, DeviceObjective)
        self.objective = stage.objective
        self.network = cast(DevicePass, stage.objective.network)

    def run(self, count: int) -> None:
        """So many iterations, and their losses on the host."""
        for _ in range(count):
            self.objective.evaluate()

    def pairs(self) -> int:
        """Of L-BFGS, that each step goes over."""
        optimiser: Any = self.objective._optimiser
        state = getattr(optimiser, "_inner", optimiser)._state
        return int(state.look(self.network.place.queue.handle)[0][0])

    def kernels(self) -> float:
        """Milliseconds of an iteration that are our kernels' own: losses, TV, L-BFGS, the record."""
        queue = self.network.place.queue
        graphs = self.objective._graphs.values()
        return sum(min(_graph_seconds(graph, queue) for _ in range(10)) for graph in graphs) * 1e3


def whole_capture(tensors: dict[str, Any], pair: list[Any]) -> str:
    """Whether ONNX Runtime lets a whole iteration be captured in one graph: "works", or what it says."""
    try:
        work = Ours(tensors, pair, "cuda", "tf32", graphs=False)
        work.run(12)
        made: list[Any] = []
        with work.network.place.queue.capture(made):
            work.network.forward_only()
            work.network.backward()
        made[0].run()
        work.network.place.queue.wait()
        return "works"
    except Exception as problem:  # whatever it is, it is the answer
        return " ".join(str(problem).split())[:300]


def whole_run(tensors: dict[str, Any], pair: list[Any], precision: str) -> float:
    """Seconds of 500 iterations from pictures to picture, the second time."""
    network = Network("vgg19", prepare(vgg.graph("vgg19", compare.STAGES, 4, tensors, "max")),
                      PREPROCESS["imagenet"], vgg.layers(compare.STAGES, 4))  # fmt: skip
    for _ in range(2):
        started = time.perf_counter()
        stylize(pair[0], [pair[1]], network=network, device="cuda", precision=precision, size=SIZE, scales=1,
                iterations=500)  # fmt: skip
    return time.perf_counter() - started


class Theirs:
    """The same in PyTorch on the GPU. `mode`: "eager" or "compile"."""

    def __init__(self, tensors: dict[str, Any], pair: list[Any], precision: str, mode: str) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"
        torch.backends.cudnn.benchmark = True
        self._features = Features(tensors, torch.channels_last).cuda()
        # Once: autocast would cast frozen weights in every iteration.
        self._features.kind = TYPES.get(precision, torch.float32)
        self._features.convolutions.to(self._features.kind)
        self._gain = 2.0**16 if precision == "fp16" else 1.0  # gradients of 1e-8 are nothing in float16
        content, style = (torch.from_numpy(p.transpose(2, 0, 1)[None].copy()).cuda() for p in pair)
        with torch.no_grad():
            taps = self._features(style)
            self._grams = {name: gram(taps[name].float()) for name in STYLE_LAYERS}
            self._content = self._features(content)[CONTENT_LAYER].float()
        self.picture = content.clone().requires_grad_()
        self._loss = torch.compile(self._losses, mode="reduce-overhead") if mode == "compile" else self._losses
        self._optimiser = torch.optim.LBFGS(
            [self.picture], lr=1, max_iter=1, history_size=HISTORY, tolerance_grad=0, tolerance_change=0
        )

    def _losses(self, picture: Tensor) -> Tensor:
        taps = self._features(picture)
        content = _relative(taps[CONTENT_LAYER].float(), self._content)
        style = torch.stack([_relative(gram(taps[name].float()), self._grams[name]) for name in STYLE_LAYERS]).mean()
        return (content + style + total_variation(picture)) * self._gain

    def _evaluate(self) -> Tensor:
        self._optimiser.zero_grad()
        loss = self._loss(self.picture)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._gain != 1:
            assert self.picture.grad is not None
            self.picture.grad /= self._gain
        return loss.detach().clone()

    def run(self, count: int) -> None:
        for _ in range(count):
            self._optimiser.step(self._evaluate)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()

    def pairs(self) -> int:
        return len(self._optimiser.state[self.picture]["old_dirs"])


def _relative(value: Tensor, target: Tensor) -> Tensor:
    return (value - target).square().sum() / target.square().sum()


def per_iteration(run: Callable[[int], None], deadline: float) -> dict[str, float]:
    """Milliseconds an iteration with a full history: the median of some rounds and their extremes."""
    found: list[float] = []
    run(110)  # the history is full then, graphs are captured, caches warm
    for _ in range(ROUNDS):
        if time.perf_counter() > deadline and found:
            break
        started = time.perf_counter()
        run(ITERATIONS)
        found.append((time.perf_counter() - started) / ITERATIONS * 1e3)
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def attempted(make: Callable[[], Any], deadline: float, least: float = 15) -> dict[str, Any]:
    """The time of an iteration, or why there is none: `least` seconds are needed to begin with. Of ours also which
    layout was taken, and how many convolutions cuDNN did with bias and ReLU in one (`fused`) or without (`split`)."""
    if time.perf_counter() + least > deadline:
        return {"skipped": "no time is left"}
    before = _core.cudnn_choices()
    try:
        work = make()
        found: dict[str, Any] = {"milliseconds": per_iteration(work.run, deadline), "pairs": work.pairs()}
        if isinstance(work, Ours):
            found["kernels_milliseconds"] = work.kernels()
            found["layout"] = work.network.place.layout
            found["convolutions"] = {kind: count - before[kind] for kind, count in _core.cudnn_choices().items()}
        del work
        torch.cuda.empty_cache()
        return found
    except Exception as problem:  # of either side: the record says which, the others are still measured
        return {"failed": " ".join(str(problem).split())[:200]}


def rate(kind: torch.dtype) -> float:
    """TFLOP/s of a product of 8192 squared, on random numbers."""
    torch.backends.cuda.matmul.allow_tf32 = True
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=kind) for _ in range(2))
    return 2 * 8192**3 / timed(lambda: a @ b) / 1e12


def timed(work: Callable[[], object], count: int = 20) -> float:
    """Seconds of one call, by CUDA's events; the median of five."""
    for _ in range(3):
        work()
    found: list[float] = []
    for _ in range(5):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        for _ in range(count):
            work()
        last.record()
        torch.cuda.synchronize()
        found.append(first.elapsed_time(last) / count / 1e3)
    return statistics.median(found)


def gram_kernels(queue: Queue) -> list[dict[str, Any]]:
    """Our Gram matrix beside cuBLAS's at VGG's shapes: microseconds, and bytes of the features a second. In tf32 the
    channels come first, in 16 bits last, as a network leaves them."""
    return [
        _gram_kernel(queue, c, p, kind)
        for kind in ("tf32", "bf16", "fp16")
        for c, p in ((64, 512 * 512), (128, 256 * 256), (256, 128 * 128), (512, 64 * 64), (512, 32 * 32))
    ]


def _gram_kernel(queue: Queue, c: int, p: int, kind: str) -> dict[str, Any]:
    last = kind != "tf32"
    torch.backends.cuda.matmul.allow_tf32 = True
    types = {"tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    flat = torch.randn((p, c) if last else (c, p)).to(types[kind])
    stored = flat.view(torch.int16).numpy().view(np.uint16 if kind == "bf16" else np.float16) if last else flat.numpy()
    there, out = queue.upload(stored[None]), queue.empty((1, c, c))
    _core.cuda_set_math("tf32")
    work = partial(_core.gram, there, out, channels_last=last)
    work()
    graphs: list[Any] = []
    with queue.capture(graphs):
        for _ in range(50):
            work()
    ours = min(_graph_seconds(graphs[0], queue) for _ in range(5)) / 50
    _core.cuda_set_math("fp32")
    flat = flat.cuda()
    theirs = timed(partial(torch.matmul, flat.T, flat) if last else partial(torch.matmul, flat, flat.T))
    return {
        "c": c, "p": p, "numbers": kind, "ours_us": ours * 1e6, "cublas_us": theirs * 1e6,
        "ours_gb_s": stored.nbytes / ours / 1e9,
    }  # fmt: skip


def _graph_seconds(graph: Any, queue: Queue) -> float:
    queue.wait()
    started = time.perf_counter()
    graph.run()
    queue.wait()
    return time.perf_counter() - started


def measure(seconds: float, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The record, which `keep` gets after every case too, with `unfinished` in it: a case may take longer than there
    is time."""
    deadline = time.perf_counter() + seconds
    tensors, pair = compare.weights(), [compare.picture(SIZE, seed) for seed in (1, 2)]
    place = devices.choose("cuda").place
    assert place is not None
    cases: dict[str, dict[str, Any]] = {precision: {} for precision in PRECISIONS}
    record: dict[str, Any] = {
        "unfinished": True, "device": torch.cuda.get_device_name(), "torch": torch.__version__, "size": SIZE,
        "gflop": GFLOP, "tflops": {"tf32": rate(torch.float32), **{name: rate(kind) for name, kind in TYPES.items()}},
        "gram": gram_kernels(place.queue), "iteration": cases, "seconds_of_500_iterations": {},
    }  # fmt: skip

    def case(precision: str, name: str, make: Callable[[], Any], least: float = 15) -> None:
        cases[precision][name] = attempted(make, deadline, least)
        keep(record)

    for precision in PRECISIONS:
        case(precision, "cuda", partial(Ours, tensors, pair, "cuda", precision))
        case(precision, "torch eager", partial(Theirs, tensors, pair, precision, "eager"))
        cases[precision]["floor"] = {"milliseconds": {"median": GFLOP / record["tflops"][precision]}}
    for precision in PRECISIONS:
        case(precision, "cuda, 16 pictures", partial(Ours, tensors, pair, "cuda", precision, 16))
        if time.perf_counter() + 15 < deadline:
            record["seconds_of_500_iterations"][precision] = whole_run(tensors, pair, precision)
    for precision in PRECISIONS:
        case(precision, "cuda, 100 pairs", partial(Ours, tensors, pair, "cuda", precision, history=100))
        case(precision, "tensorrt", partial(Ours, tensors, pair, "tensorrt", precision))
        for layout, name in OTHERS.items():
            if layout in TRIED[precision]:
                case(precision, f"cuda, {name}", partial(Ours, tensors, pair, "cuda", precision, layout=layout))
    if time.perf_counter() + 15 < deadline:
        record["whole_iteration_captured"] = whole_capture(tensors, pair)
    for precision in PRECISIONS:  # last: it compiles for half a minute, and longer on some machines
        case(precision, "torch compile", partial(Theirs, tensors, pair, precision, "compile"), 75)
    del record["unfinished"]
    keep(record)
    return record


def table(record: dict[str, Any]) -> str:
    """What is printed last: milliseconds, ratios, and what part of the floor is reached."""
    lines = [f"ours and PyTorch on {record['device']}, {SIZE} px, ms an iteration"]
    for precision, cases in record["iteration"].items():
        shown = [f"{name} {_short(case)}" for name, case in cases.items()]
        lines.append(f"  {precision}: " + ", ".join(shown))
    for row in record["gram"]:
        ours, theirs = f"{row['ours_us']:.1f} us, {row['ours_gb_s']:.0f} GB/s", f"{row['cublas_us']:.1f} us"
        lines.append(f"  gram {row['c']}x{row['p']} {row['numbers']}: {ours}; cuBLAS {theirs}")
    return "\n".join(lines)


def _short(case: dict[str, Any]) -> str:
    if "milliseconds" in case:
        return f"{case['milliseconds']['median']:.3f}"
    return "failed" if "failed" in case else "skipped"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--seconds", type=float, default=150, help="all that may be taken [150]")
    ask.add_argument("-o", "--output", type=Path, required=True, help="the directory of records")
    given = ask.parse_args()

    def keep(record: dict[str, Any]) -> None:
        compare.write(given.output / f"gpu-{record['device'].lower().replace(' ', '-')}.json", record)

    print(table(measure(given.seconds, keep)))


if __name__ == "__main__":
    main()
