"""Batches that end early, and what the next start makes of it: nothing twice, nothing lost."""

import errno
import fcntl
import json
import os

import pytest
import stylogram
from engine.batches import ARGUMENTS, FAST, four, jobs, lines
from stylogram import files, pictures
from stylogram.cli import main


def test_what_is_done_is_not_done_again_unless_the_job_changed_or_the_picture_is_gone(here):
    def run(given, **options):
        made = stylogram.batch(given, output="out", **{**FAST, **options})
        return made.done, made.kept

    assert run(four(here)) == (4, 0)
    before = {k: (here / f"out/{k}.png").stat().st_mtime_ns for k in range(4)}
    assert run(four(here), threads=1) == (0, 4)
    (here / "out/2.png").unlink()
    assert run(four(here)) == (1, 3)
    assert run(four(here), iterations=3) == (4, 0)
    assert {k for k in before if (here / f"out/{k}.png").stat().st_mtime_ns == before[k]} == set()
    assert len(lines()) == 9


def test_a_line_cut_short_is_taken_off(here):
    stylogram.batch(four(here), output="out", **FAST)
    whole = (here / "out/results.jsonl").read_bytes()
    (here / "out/results.jsonl").write_bytes(whole[:-20])
    (here / "out/.3.png.0123456789ab").write_bytes(b"half a picture")
    (here / "out/.mine.png.0123456789ab").write_bytes(b"somebody's own")
    last = json.loads(whole.splitlines()[-1])["output"]
    made = stylogram.batch(four(here), output="out", **FAST)
    assert (made.done, made.kept) == (1, 3)
    assert [row["output"] for row in lines()].count(last) == 1
    assert sorted(row["output"] for row in lines()) == ["0.png", "1.png", "2.png", "3.png"]
    hidden = {path.name for path in (here / "out").glob(".*")}
    assert hidden == {".mine.png.0123456789ab"} | ({".3.png.0123456789ab"} if last != "3.png" else set())


def test_a_results_file_of_another_program_is_left_alone(here, capsys):
    (here / "out").mkdir()
    (here / "out/results.jsonl").write_text('{"a": 1}\n')
    assert main(["batch", four(here), "-o", "out", *ARGUMENTS]) == 2
    assert "results.jsonl, line 1 is none of a batch's" in capsys.readouterr().err
    assert (here / "out/results.jsonl").read_text() == '{"a": 1}\n'


def test_two_batches_at_once_into_one_directory(here, capsys):
    (here / "out").mkdir()
    with open(here / "out/results.jsonl", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["batch", four(here), "-o", "out", *ARGUMENTS]) == 2
    assert "out: another batch is writing there" in capsys.readouterr().err


class Full:
    """A disk that takes `room` more pictures."""

    def __init__(self, monkeypatch, room):
        self.room, self._own = room, files.os.replace
        monkeypatch.setattr(files.os, "replace", self)

    def __call__(self, source, target):
        if str(target).endswith(".png"):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.room -= 1
        self._own(source, target)


def test_a_disk_that_fills_up_half_way(here, monkeypatch, capsys):
    disk = Full(monkeypatch, room=2)
    assert main(["batch", four(here), "-o", "out", "--batch", "1", *ARGUMENTS]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "2.png cannot be written: No space left on device" in said
    assert said.count("\n") == 1
    assert [row["output"] for row in lines()] == ["0.png", "1.png"]
    assert sorted(path.name for path in (here / "out").iterdir()) == ["0.png", "1.png", "results.jsonl"]
    disk.room = 9
    assert main(["batch", "jobs.jsonl", "-o", "out", *ARGUMENTS]) == 0
    assert [row["output"] for row in lines()][:2] == ["0.png", "1.png"]
    assert len(lines()) == 4


def test_an_output_that_cannot_be_written_fails_alone(here):
    (here / "out/1.png").mkdir(parents=True)
    made = stylogram.batch(four(here), output="out", **FAST)
    assert made.done == 3
    assert "1.png cannot be written" in made.failures[0][1]


def test_a_path_that_is_too_long_for_the_system_fails_alone(here, capsys):
    """Each name of it is short enough."""
    long = "/".join(["d" * 200] * 25) + "/a.png"
    assert main(["batch", jobs(here, {"output": long}, {"output": "b.png"}), "-o", "out", *ARGUMENTS]) == 1
    said = capsys.readouterr().err
    assert said.startswith("failed: row 1 (line 1): ")
    assert said.count("\n") == 1
    assert [row["error"] is None for row in sorted(lines(), key=lambda row: row["output"])] == [True, False]
    assert main(["batch", "jobs.jsonl", "-o", "out", *ARGUMENTS]) == 1


def test_a_folder_that_this_user_may_not_look_into_fails_alone(here, monkeypatch):
    """The administrator may look into every folder: what the system says to others is said in its place."""

    def locked(own):
        def call(path, *given, **named):
            if "locked" in os.fspath(path):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return own(path, *given, **named)

        return call

    (here / "out/locked").mkdir(parents=True)
    given = jobs(here, {"output": "locked/a.png"}, {"output": "b.png"})
    with monkeypatch.context() as patch:
        for name in ("stat", "lstat", "listdir", "mkdir", "open"):
            patch.setattr(os, name, locked(getattr(os, name)))
        patch.setattr("builtins.open", locked(open))
        made = stylogram.batch(given, output="out", **FAST)
    assert (made.done, made.failures[0][0]) == (1, "row 1 (line 1)")
    assert made.failures[0][1].endswith("out/locked cannot be made: Permission denied")
    assert stylogram.batch(given, output="out", **FAST).done == 1


def test_a_picture_that_there_is_no_memory_to_encode_fails_alone(here, monkeypatch):
    own = pictures.encoded

    def encoded(name, *given):
        if name == "1.png":
            raise MemoryError
        return own(name, *given)

    monkeypatch.setattr(pictures, "encoded", encoded)
    made = stylogram.batch(four(here), output="out", **FAST)
    assert (made.done, made.failures) == (3, (("row 2 (line 2)", "not enough memory to encode it"),))
    assert sorted(row["output"] for row in lines()) == ["0.png", "1.png", "2.png", "3.png"]


def test_an_output_that_leads_outside_by_a_link(here):
    (here / "out").mkdir()
    (here / "elsewhere").mkdir()
    (here / "out/link").symlink_to(here / "elsewhere")
    made = stylogram.batch(jobs(here, {"output": "link/a.png"}, {"output": "b.png"}), output="out", **FAST)
    assert made.done == 1
    assert "leads outside by a link" in made.failures[0][1]
    assert not list((here / "elsewhere").iterdir())


def test_ctrl_c_keeps_what_is_done(here):
    seen = []

    def press(progress):
        seen.append(progress)
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stylogram.batch(four(here), output="out", batch=1, callback=press, **{**FAST, "iterations": 60})
    done = [row["output"] for row in lines()]
    assert done[:2] == ["0.png", "1.png"]
    assert stylogram.batch(four(here), output="out", **{**FAST, "iterations": 60}).kept == len(done)


def test_progress_counts_up_to_all(here):
    (here / "c1.png").write_bytes(b"")
    seen = []
    stylogram.batch(four(here), output="out", batch=2, callback=seen.append, **FAST)
    assert [(p.total, p.kept, p.done, p.failed) for p in seen if p.ended][-1] == (4, 0, 3, 1)
    work = [p.done + p.failed + p.running for p in seen]
    assert 0 <= min(work) <= 1
    assert any(p.running % 1 for p in seen)
    assert max(work) == work[-1] == 4
    assert seen[-1].left == 0
    assert seen[-1].an_hour == pytest.approx(3600 * 3 / seen[-1].seconds)


def test_an_output_that_is_one_of_the_inputs_by_a_link(here):
    (here / "out").mkdir()
    (here / "out/0.png").hardlink_to(here / "c0.png")
    before = (here / "c0.png").read_bytes()
    made = stylogram.batch(four(here), output="out", **FAST)
    assert (made.done, made.failures[0][0]) == (3, "row 1 (line 1)")
    assert "the output 0.png is one of the inputs" in made.failures[0][1]
    assert (here / "c0.png").read_bytes() == before
