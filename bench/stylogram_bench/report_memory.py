"""Does `deconvnet` need more memory for more pictures? Peak resident memory of a process of its own, for each count.

    python -m stylogram_bench.report_memory NETWORK PICTURES_DIR --counts 500,3000 [--preprocess NAME] [-o FILE.json]

The first N pictures of the folder, by name, are linked into a folder of their own; the whole task runs on it, report
included.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from stylogram.folder import Folder

from .compare import write

TASK = """
import resource, sys
from stylogram.tasks.deconvnet import deconvnet
network, preprocess, pictures, layer, unit, size, output = sys.argv[1:]
deconvnet(pictures, output=output, network=network, preprocess=preprocess or None, layer=layer, unit=unit, size=size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(folder: Folder, count: int, *options: str) -> float:
    """Peak resident MiB of the task on the first `count` pictures."""
    with tempfile.TemporaryDirectory() as where:
        (Path(where) / "pictures").mkdir()
        for number, name in enumerate(folder.names[:count]):
            link = Path(where) / "pictures" / f"{number:06d}{Path(name).suffix}"
            os.symlink((folder.root / name).resolve(), link)
        network, preprocess, layer, unit, size = options
        given = [network, preprocess, f"{where}/pictures", layer, unit, size, f"{where}/report"]
        done = subprocess.run([sys.executable, "-c", TASK, *given], capture_output=True, text=True, check=True)
    return round(float(done.stdout.splitlines()[-1]), 1)


@click.command()
@click.argument("network")
@click.argument("pictures")
@click.option("--preprocess", default="")
@click.option("--counts", default="500,3000")
@click.option("--layer", default="fire9")
@click.option("--unit", default="0-63")
@click.option("--size", default="96")
@click.option("-o", "--output")
def main(
    network: str, pictures: str, preprocess: str, counts: str, layer: str, unit: str, size: str, output: str | None
) -> None:
    """Measure the peak memory for each of the COUNTS, joined by commas."""
    folder = Folder.scan(pictures)
    wanted = [int(count) for count in counts.split(",")]
    if max(wanted) > len(folder.names):
        raise click.BadParameter(f"{pictures} has {len(folder.names)} pictures, {max(wanted)} are asked for")
    found = {str(count): peak(folder, count, network, preprocess, layer, unit, size) for count in wanted}
    print(found)
    if output:
        what = "peak resident MiB of stylogram deconvnet in a process of its own, by the number of pictures"
        shown = {"network": Path(network).name, "layer": layer, "unit": unit, "size": int(size)}
        write(Path(output), {"what": what, **shown, "peak_mebibytes": found})


if __name__ == "__main__":
    main()
