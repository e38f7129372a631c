"""Batches from and to URLs that fsspec knows: memory:// as object stores are, local:// as mounted ones."""

import json
import sys
import time

import numpy as np
import pytest
import stylogram
from engine.batches import ARGUMENTS, FAST, STEP, rgb
from engine.command import refused
from stylogram import remote
from stylogram.batching import ledger, writer
from stylogram.batching.jobs import Reader
from stylogram.batching.outputs import outputs
from stylogram.batching.rows import Row
from stylogram.cli import main
from stylogram.errors import Error

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'stylogram[remote]'")


@pytest.fixture(autouse=True)
def store(here, monkeypatch):
    """memory:// with the pictures of `here`, empty afterwards; a cache of its own."""
    monkeypatch.setenv("STYLOGRAM_CACHE", str(here / "cache"))
    memory = fsspec.filesystem("memory")
    for path in here.glob("*.png"):
        memory.pipe_file(f"/in/{path.name}", path.read_bytes())
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


ROWS = [
    {"content": "c0.png", "style": "s0.png", "output": "deep/0.png"},
    {"content": "memory://in/c1.png", "style": ["memory://in/s0.png", "s1.png"], "output": "1.png"},
    {"content": "c2.png", "style": "s0.png", "output": "2.png", "init": "c0.png", "mask": [["c1.png", "s1.png"]]},
]


def put(store, given, path="/in/jobs.jsonl"):
    store.pipe_file(path, "".join(json.dumps(row) + "\n" for row in given).encode())
    return f"memory:/{path}"


def lines(store, path="/out/results.jsonl"):
    return [json.loads(line) for line in store.cat_file(path).splitlines()]


def test_jobs_pictures_and_outputs_at_urls(here, store):
    made = stylogram.batch(put(store, ROWS), output="memory://out", **FAST)
    assert (made.done, made.failures, made.results) == (3, (), "memory://out/results.jsonl")
    assert sorted(row["output"] for row in lines(store)) == ["1.png", "2.png", "deep/0.png"]
    assert lines(store)[0]["content"].startswith("memory://in/")
    here_too = [{**row, "content": row["content"].replace("memory://in/", "")} for row in ROWS]
    here_too[1]["style"] = ["s0.png", "s1.png"]
    stylogram.batch(here_too, output="out", **FAST)
    for row in ROWS:
        (here / "copy.png").write_bytes(store.cat_file(f"/out/{row['output']}"))
        assert np.abs(rgb("copy.png") - rgb(f"out/{row['output']}")).max() < STEP


def test_folders_at_urls(store):
    store.pipe_file("/in/.hidden.png", b"")
    store.pipe_file("/in/readme.txt", b"")
    given = {"content": "memory://in", "style": "memory://in/s0.png"}
    with pytest.raises(Error, match="size: should be"):
        stylogram.batch(**given, output="memory://out", size=1)
    made = stylogram.batch(**given, output="memory://out", **FAST)
    names = ("c0", "c1", "c2", "s0", "s1", "square")
    assert made.done == len(names)
    assert {f"/out/{name}__s0.png" for name in names} < set(store.store)
    with pytest.raises(Error, match=r"style: no picture below memory://none; files that end in \.png"):
        stylogram.batch(content="memory://in", style="memory://none", output="memory://out", **FAST)


def test_a_mounted_file_system(here):
    """Written under another name and moved: local:// is fsspec's own way to this machine's files."""
    url = f"local://{here}"
    rows = [{"content": f"{url}/c0.png", "style": f"file://{here}/s0.png", "output": "deep/a.png"}]
    assert stylogram.batch(rows, output=f"{url}/out", **FAST).done == 1
    assert sorted(path.name for path in (here / "out").rglob("*")) == ["a.png", "deep", "results.jsonl"]
    assert stylogram.batch(rows, output=f"{url}/out", **FAST).kept == 1
    made = stylogram.batch(rows, output=f"file://{here}/plain", **FAST)
    assert made.results == here / "plain/results.jsonl"


def test_another_machine_goes_on(here, store, monkeypatch):
    given = put(store, ROWS)
    assert stylogram.batch(put(store, ROWS[:1]), output="memory://out", **FAST).done == 1
    monkeypatch.setenv("STYLOGRAM_CACHE", str(here / "elsewhere"))
    assert (stylogram.batch(put(store, ROWS), output="memory://out", **FAST)).kept == 1
    assert len(lines(store)) == 3
    monkeypatch.setenv("STYLOGRAM_CACHE", str(here / "cache"))
    assert stylogram.batch(given, output="memory://out", **FAST).kept == 3
    assert len(lines(store)) == 3
    store.rm_file("/out/1.png")
    assert stylogram.batch(given, output="memory://out", **FAST).done == 1


def test_a_batch_that_was_killed_before_its_lines_were_copied_goes_on(store, monkeypatch):
    """The ledger of this machine has them."""
    given = put(store, ROWS)
    with monkeypatch.context() as killed:
        killed.setattr(ledger.Ledger, "_publish", lambda self: setattr(self, "_published", 0.0))
        assert stylogram.batch(given, output="memory://out", **FAST).done == 3
    assert "/out/results.jsonl" not in store.store
    assert stylogram.batch(given, output="memory://out", **FAST).kept == 3
    assert len(lines(store)) == 3


def test_lines_are_copied_meanwhile_and_a_connection_may_be_away(store, monkeypatch):
    own, copied = remote.write, []

    def away(url, data):
        if url.endswith("results.jsonl"):
            copied.append(data.count(b"\n"))
            if copied == [0, 1]:
                raise Error("no route to host")
        own(url, data)

    monkeypatch.setattr(ledger, "EVERY", 0.0)
    monkeypatch.setattr(remote, "write", away)
    assert stylogram.batch(put(store, ROWS), output="memory://out", **FAST).done == 3
    assert sorted(copied) == copied
    assert (copied[:2], set(copied)) == ([0, 1], {0, 1, 2, 3})
    assert len(lines(store)) == 3


def test_the_copy_has_the_last_lines_of_a_group_while_the_next_is_painted(store, monkeypatch):
    """All lines of a group come at once; nothing comes after them for a while."""
    monkeypatch.setattr(ledger, "EVERY", 0.3)
    monkeypatch.setattr(writer, "IDLE", 0.05)
    given = Reader("memory://out", "", {"network": "net.onnx"}, lambda options: None)
    jobs = given.jobs("rows", [Row(f"row {k}", {"content": "c", "style": "s", "output": f"{k}.png"}) for k in range(3)])
    own = ledger.Ledger(outputs("memory://out"))
    taken = writer.Writer(own, lambda ended: None, depth=8)
    for job in jobs:
        taken.put(writer.Ended(job, None, None, 0.0, "its pictures are not there"))
    end = time.monotonic() + 20
    while len(lines(store)) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    assert [row["output"] for row in lines(store)] == ["0.png", "1.png", "2.png"]
    taken.finish()
    own.close()


def test_a_picture_that_is_not_taken_fails_alone(store, monkeypatch):
    own = remote.write

    def full(url, data):
        if url.endswith("1.png"):
            raise Error(f"{url} cannot be written: quota")
        own(url, data)

    monkeypatch.setattr(remote, "write", full)
    made = stylogram.batch(put(store, ROWS), output="memory://out", **FAST)
    assert (made.done, made.failures) == (2, (("row 2 (line 2)", "memory://out/1.png cannot be written: quota"),))


BAD = [
    ({"content": "memory://in/none.png", "style": "s0.png"}, 1, "there is no file memory://in/none.png"),
    ({"content": "nowhere://in/c.png", "style": "s0.png"}, 1, "Protocol not known: nowhere"),
    ({"content": "c0.png", "style": "s0.png", "output": "memory://elsewhere/a.png"}, 2, "is a path outside"),
    ({"content": "c0.png", "style": "s0.png", "output": "../a.png"}, 2, "is a path outside"),
    ({"content": "c0.png", "style": "s0.png", "output": "/a.png"}, 2, "is a path outside"),
    ({"content": "memory://out/a.png", "style": "s0.png", "output": "a.png"}, 2, "is a picture that row 1"),
]


@pytest.mark.parametrize(("row", "status", "message"), BAD)
def test_bad_urls(store, capsys, row, status, message):
    row = {"output": "memory://out/fine.png", **row}
    assert main(["batch", put(store, [row]), "-o", "memory://out", *ARGUMENTS]) == status
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_jobs_file_or_a_place_that_is_not_there(here, store, capsys):
    assert main(["batch", "memory://in/none.csv", "-o", "out", *ARGUMENTS]) == 2
    assert refused(capsys, "there is no file memory://in/none.csv; accepted: one that can be read")
    assert main(["batch", put(store, ROWS), "-o", "nowhere://out", *ARGUMENTS]) == 2
    assert refused(capsys, "nowhere://out: Protocol not known: nowhere")
    (here / "file").write_bytes(b"")
    assert main(["batch", put(store, ROWS), "-o", f"local://{here}/file/out", *ARGUMENTS]) == 2
    assert refused(capsys, "results.jsonl cannot be written: ")


def test_what_has_to_be_installed(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    arguments = ["batch", "s3://bucket/jobs.csv", "-o", "out", *ARGUMENTS]
    assert main(arguments) == 2
    assert refused(capsys, "s3://bucket/jobs.csv: Install s3fs to access S3")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert main(arguments) == 2
    assert refused(capsys, "s3://bucket/jobs.csv: fsspec is needed for it: pip install 'stylogram[remote]'")


def test_urls_in_rows_are_from_the_file(tmp_path):
    def read(base, **values):
        (job,) = Reader("s3://b/out", base, {}, lambda options: None).jobs("rows", [Row("row 1", values)])
        return job

    job = read("gs://a/jobs", content="x/../c.png", style="az://d/s.png;file:///e/s.png", output="s3://b/out/p/q.png")
    assert (job.content, job.styles, job.output) == ("gs://a/jobs/c.png", ("az://d/s.png", "/e/s.png"), "p/q.png")
    assert read("gs://a/jobs", content="/c.png", style="s").content == "/c.png"
    assert read("/jobs", content="c.png", style="s").content == "/jobs/c.png"
    options = read("gs://a", content="c", style="s", init="i.png", mask="m.png;/n.png").options
    assert (options.init, options.mask) == ("gs://a/i.png", (("gs://a/m.png", "/n.png"),))
