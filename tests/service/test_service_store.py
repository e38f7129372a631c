"""What a server finds when it starts: another version's state, a damaged one, jobs that ended it again and again."""

import asyncio
import sqlite3

import pytest
from service.serving import CONTENT, STYLE
from stylogram import Error
from stylogram.service.board import ATTEMPTS
from stylogram.service.dispatcher import Dispatcher
from stylogram.service.events import stream
from stylogram.service.jobs import Job
from stylogram.service.live import FullError
from stylogram.service.metrics import Metrics
from stylogram.service.settings import Settings
from stylogram.service.store import Store


def opened(folder, **settings):
    """A dispatcher that does not paint."""
    return Dispatcher(Settings(state=folder, min_free=0, **settings), Metrics())


def job(**more):
    return Job("stylize", {"size": "32"}, {}, **more)


def test_jobs_are_what_they_were(tmp_path):
    first = opened(tmp_path)
    made = job(kind="k", notes=["a note"], losses=[(1, 0, 0.5, 2.25)], checkpoint={"scale": 1})
    first.submit(made, {"content": [CONTENT], "style": [STYLE, STYLE]})
    first.store.close()
    second = opened(tmp_path)
    assert second.store.get(made.id) == made
    assert [one.id for one in second.store.waiting()] == [made.id]
    assert second.describe(made.id).position == 0
    assert len(list((tmp_path / "uploads").iterdir())) == 2  # one picture is kept once
    second.cancel(made.id)
    second.cancel(made.id)
    assert list((tmp_path / "uploads").iterdir()) == []
    second.store.close()


def test_a_picture_that_two_jobs_have_goes_with_the_second(tmp_path):
    made = opened(tmp_path)
    jobs = [made.submit(job(), {"content": [CONTENT], "style": [style]}) for style in (STYLE, CONTENT)]
    for one, left in zip(jobs, (1, 0), strict=True):
        made.cancel(one.id)
        made.cancel(one.id)
        assert len(list((tmp_path / "uploads").iterdir())) == left
    made.store.close()


def test_a_job_that_was_running_each_time_is_given_up(tmp_path):
    first = opened(tmp_path)
    jobs = [first.submit(job(), {}) for _ in range(2)]
    for one, attempts in zip(jobs, (ATTEMPTS, ATTEMPTS - 1), strict=True):
        one.state, one.attempts = "running", attempts
        first.store.save(one)
    first.store.close()
    second = opened(tmp_path)
    given_up, again = (second.describe(one.id) for one in jobs)
    assert given_up.state == "failed"
    assert "it was started 5 times, and the server ended each time" in given_up.error
    assert again.state == "queued"
    second.store.close()


def test_what_a_crash_has_left_is_swept(tmp_path):
    first = opened(tmp_path)
    kept = first.submit(job(), {"content": [CONTENT]})
    first.store.close()
    (tmp_path / "uploads" / ".half.written").write_bytes(b"x")
    (tmp_path / "jobs" / "0" / "deep").mkdir(parents=True)
    second = opened(tmp_path)
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == kept.pictures["content"]
    assert list((tmp_path / "jobs").iterdir()) == []
    second.store.close()


def test_the_queue_is_bounded(tmp_path):
    made = opened(tmp_path, max_queue=2)
    for _ in range(2):
        made.submit(job(), {})
    with pytest.raises(FullError, match="2 jobs are waiting"):
        made.submit(job(), {"content": [CONTENT]})
    assert list((tmp_path / "uploads").iterdir()) == []
    made.store.close()


def test_another_version_and_a_damaged_state(tmp_path):
    opened(tmp_path).store.close()
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(Error, match=r"is of version 7; accepted: 1, or another directory"):
        Store(tmp_path)
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    for name in ("jobs.sqlite-wal", "jobs.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(Error, match="cannot be used: file is not a database"):
        Store(tmp_path)


def test_one_server_at_a_time(tmp_path):
    first = Store(tmp_path)
    with pytest.raises(Error, match="is in use by another server"):
        Store(tmp_path)
    first.close()
    Store(tmp_path).close()


def test_a_watcher_is_told_the_end_even_if_it_comes_between_two_words(tmp_path, monkeypatch):
    """A job that ends after its state was said and before the stream looks whether to go on."""
    made = opened(tmp_path)
    one = made.submit(job(), {})
    describe = made.describe

    def described(name):
        said = describe(name)
        made.cancel(name) if one.state == "queued" else None
        return said

    monkeypatch.setattr(made, "describe", described)

    async def heard():
        return [line async for line in stream(made, one.id, previews=True)]

    said = "".join(asyncio.run(heard()))
    assert said.index('"state":"queued"') < said.index('"state":"cancelled"') < said.index("event: end")
    made.store.close()
