"""training/ is no package of the wheel: it is put on the path here."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set."""
    from stylogram_training import dataset

    folder = tmp_path_factory.mktemp("data")
    part, dataset.PART = dataset.PART, 8
    try:
        dataset.make(folder, scenes=16, classes=12, draws=1, workers=1, seed=0)
    finally:
        dataset.PART = part
    return folder
