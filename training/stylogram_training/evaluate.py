"""How good are networks for style transfer? An ImageNet SqueezeNet that none of them has seen is the judge.

    python -m stylogram_training.evaluate [NETWORK ...] [-o RESULT.json] [--pictures DIR] [--iterations N]

Every network stylises the four pairs at 256 pixels with default options; judge_style.py of the shared data (see
STYLOGRAM_SHARED) measures style and content distance. A NETWORK is a name or a file, with `:caffe` behind it if it has
to be told its preprocessing. Without any: random, seednet and SqueezeNet itself.
"""

import argparse
import importlib.util
import os
from pathlib import Path
from typing import Any

import stylogram
from stylogram_bench.compare import write

SHARED = Path(os.environ.get("STYLOGRAM_SHARED", "../shared")) / "data"
PAIRS = (
    ("tubingen", "starry_night"),
    ("golden_gate", "the_scream"),
    ("tubingen", "seated-nude"),
    ("golden_gate", "escher_sphere"),
)
SIZE = 256


def judge() -> Any:
    """The module judge_style of the shared data."""
    spec = importlib.util.spec_from_file_location("judge_style", SHARED / "judge_style.py")
    if spec is None or spec.loader is None or not (SHARED / "judge_style.py").is_file():
        raise SystemExit(f"no judge_style.py in {SHARED}: set STYLOGRAM_SHARED")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def distances(module: Any, style: Path, content: Path, made: Path) -> tuple[float, float]:
    """Style and content distance of one picture."""
    session = module.session(SHARED / "models" / "squeezenet1_0.onnx")
    size = module.fitted(content, SIZE)
    names = module.STYLE

    def features(path: Path, wanted: tuple[int, int]) -> dict[str, Any]:
        return dict(zip(names, session.run(names, {"data": module.load(path, wanted)}), strict=True))

    target, original = features(style, module.fitted(style, SIZE)), features(content, size)[module.CONTENT]
    found = features(made, size)
    grams = {name: (module.gram(found[name]), module.gram(target[name])) for name in names}
    by_style = sum(float(((x - s) ** 2).sum() / (s**2).sum()) for x, s in grams.values()) / len(names)
    return by_style, float(((found[module.CONTENT] - original) ** 2).sum() / (original**2).sum())


def evaluate(network: str, module: Any, folder: Path, iterations: int | None) -> list[dict[str, Any]]:
    """One row a pair; the pictures are kept in `folder`."""
    name, _, preprocess = network.partition(":")
    rows = []
    for content, style in PAIRS:
        paths = [SHARED / "pictures" / f"{picture}.jpg" for picture in (content, style)]
        made = folder / f"{Path(name).stem}-{content}-{style}.png"
        options: dict[str, Any] = {"network": name, "size": SIZE, "iterations": iterations}
        stylogram.stylize(*paths, **options, preprocess=preprocess or None).save(made)
        by_style, by_content = distances(module, paths[1], paths[0], made)
        rows.append({"content": content, "style": style, "style_distance": by_style, "content_distance": by_content})
        print(f"{Path(name).stem:16} {content} x {style}: style {by_style:.4f} content {by_content:.3f}", flush=True)
    return rows


def main() -> None:
    """The command line."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    squeezenet = str(SHARED / "models" / "squeezenet1_0.onnx") + ":caffe"
    ask.add_argument("networks", nargs="*", default=["random", "seednet", squeezenet])
    ask.add_argument("-o", "--output", type=Path)
    ask.add_argument("--pictures", type=Path, default=Path("evaluated"))
    ask.add_argument("--iterations", type=int, help="those of the default preset if not given")
    given = ask.parse_args()
    given.pictures.mkdir(parents=True, exist_ok=True)
    module = judge()
    found = {
        Path(network.partition(":")[0]).stem: evaluate(network, module, given.pictures, given.iterations)
        for network in given.networks
    }
    if given.output:
        write(given.output, {"size": SIZE, "iterations": given.iterations, "networks": found})


if __name__ == "__main__":
    main()
