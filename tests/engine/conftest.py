"""Fixtures that several files ask for."""

import pytest
from engine.batches import furnish


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with pictures and a network for batches, in which the test runs."""
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
