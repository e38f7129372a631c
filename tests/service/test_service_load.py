"""A small load: more clients than the queue holds, and memory that does not grow. bench/ has the large one."""

import asyncio
import os

from service.serving import Server
from stylogram_bench import service as bench


def test_many_clients_at_once(tmp_path):
    server = Server(tmp_path, max_queue=3, keep=5)
    try:
        tally = asyncio.run(bench.load(server.url, os.getpid(), 8, 3, every=0.05, network="narrow"))
        assert set(tally.statuses) == {200, 202, 429}  # nothing but "come again", and that is seen
        assert tally.statuses[202] == len(tally.seconds) == 24
        assert tally.errors == []
        made = bench.growth(tally.memory, 24)
        assert made["worker"]["late_mib"] - made["worker"]["early_mib"] < 48
        kept = list((tmp_path / "state" / "jobs").iterdir())
        assert len(kept) <= 5 + 8  # those that have ended, and the last group
        assert server.dispatcher.board.live == {}
    finally:
        server.close()
