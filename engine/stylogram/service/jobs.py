"""A job: what was asked for, and what has become of it."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

STATES = ("queued", "running", "done", "failed", "cancelled")
ENDED = ("done", "failed", "cancelled")

#: scale, iteration, seconds, loss
Row = tuple[int, int, float, float]


@dataclass
class Job:
    """`pictures` are names of uploads by input; `kind` is equal for jobs that may be painted together, or empty.

    `losses` are the rows of those that have ended, and of those with a checkpoint. `attempts` counts starts; `alone`:
    painted with no other job, because a worker died with it.
    """

    task: str
    options: dict[str, Any]
    pictures: dict[str, list[str]]
    format: str = "png"
    kind: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    number: int = 0
    state: str = "queued"
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None
    losses: list[Row] = field(default_factory=list)
    checkpoint: dict[str, Any] | None = None
    attempts: int = 0
    alone: bool = False

    @property
    def ended(self) -> bool:
        """Nothing more will happen to it."""
        return self.state in ENDED
