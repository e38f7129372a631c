"""Names and files as networks, and fetching: cut connections, wrong hashes, servers of every kind."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from narrow_vgg import torchvision_keys, weights
from stylogram import zoo
from stylogram.errors import Error
from stylogram_export.preprocess import PREPROCESS

CONTENT = np.random.default_rng(3).bytes(1_500_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """A server on this machine, what it does, and what it was asked."""

    url: str
    content: bytes = CONTENT
    cuts: list[int] = field(default_factory=list)  # answer n breaks off after so many bytes
    ranges: bool = True
    length: bool = True
    codes: list[int] = field(default_factory=list)  # answer n is only this status
    asked: list[str | None] = field(default_factory=list)  # the Range of each request


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.asked.append(wanted)
        code = site.codes.pop(0) if site.codes else 0
        if code or not self.path.endswith(".pth"):
            self.send_error(code or 404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
        total = len(site.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if site.length:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        end = start + site.cuts.pop(0) if site.cuts else total
        self.wfile.write(site.content[start:end])


@pytest.fixture
def site() -> Iterator[Site]:
    handler = type("SiteHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False  # server_close() then waits for them
    handler.site = Site(f"http://127.0.0.1:{server.server_port}/models")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield handler.site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _entry(monkeypatch, tmp_path):
    """vgg11's entry is for CONTENT; nothing waits; the cache is empty; no address of the outside is ever used."""
    monkeypatch.setitem(zoo.ENTRIES, "vgg11", replace(zoo.ENTRIES["vgg11"], sha256=DIGEST[:8]))
    monkeypatch.setattr(zoo, "PAUSE", 0.0)
    monkeypatch.setenv("STYLOGRAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STYLOGRAM_MIRROR", "http://127.0.0.1:9/nothing-listens-here")


def left(folder: Path) -> list[str]:
    """The files in the cache except locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_fetch_verifies_and_caches(site, tmp_path):
    assert zoo.cached("vgg11") is None
    seen: list[tuple[int, int | None]] = []
    path = zoo.fetch("vgg11", base_url=site.url, progress=lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "cache" / "vgg11-8a719046.pth" == zoo.cached("vgg11")
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == [path.name]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert zoo.fetch("vgg11", base_url=site.url) == path
    assert site.asked == [None]  # the second fetch asked nobody


def test_a_cut_connection_is_resumed_where_it_broke(site):
    site.cuts = [400_000, 300_000]
    path = zoo.fetch("vgg11", base_url=site.url)
    assert path.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=400000-", "bytes=700000-"]


def test_the_next_call_goes_on_where_the_last_gave_up(site, tmp_path):
    site.cuts = [400_000, *[0] * zoo.ATTEMPTS]
    with pytest.raises(Error, match=r"broke after 0.4 of 1.4 MB; 0.4 MB are kept") as error:
        zoo.fetch("vgg11", base_url=site.url)
    assert "\n" not in str(error.value)
    assert left(tmp_path / "cache") == ["vgg11-8a719046.pth.part"]
    assert zoo.cached("vgg11") is None
    site.asked.clear()
    assert zoo.fetch("vgg11", base_url=site.url).read_bytes() == CONTENT
    assert site.asked == ["bytes=400000-"]


def test_a_server_without_ranges_sends_everything_again(site):
    site.ranges = False
    site.cuts = [400_000]
    assert zoo.fetch("vgg11", base_url=site.url).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=400000-"]


def test_a_server_that_does_not_say_the_length(site):
    site.length = False
    totals = set()
    path = zoo.fetch("vgg11", base_url=site.url, progress=lambda _, total: totals.add(total))
    assert path.read_bytes() == CONTENT
    assert totals == {None}


def test_a_wrong_hash_leaves_nothing(site, tmp_path):
    site.content = CONTENT[:-1] + b"?"
    with pytest.raises(Error, match=f"must begin with {DIGEST[:8]}, got [0-9a-f]{{16}}; the download was removed"):
        zoo.fetch("vgg11", base_url=site.url)
    assert left(tmp_path / "cache") == []
    site.content = CONTENT
    assert zoo.fetch("vgg11", base_url=site.url).read_bytes() == CONTENT


def test_a_part_of_another_file_is_found_out(site, tmp_path):
    (tmp_path / "cache").mkdir()
    part = tmp_path / "cache" / "vgg11-8a719046.pth.part"
    part.write_bytes(b"x" * 1000)
    with pytest.raises(Error, match="the download was removed"):
        zoo.fetch("vgg11", base_url=site.url)
    part.write_bytes(b"x" * (len(CONTENT) + 1))  # longer than the file: begun anew at once
    assert zoo.fetch("vgg11", base_url=site.url).read_bytes() == CONTENT


def test_a_complete_part_only_needs_its_name(site, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "vgg11-8a719046.pth.part").write_bytes(CONTENT)
    assert zoo.fetch("vgg11", base_url=site.url).read_bytes() == CONTENT
    assert site.asked == [f"bytes={len(CONTENT)}-"]


def test_404_is_final_and_503_is_not(site):
    site.codes = [503, 503]
    assert zoo.fetch("vgg11", base_url=site.url).read_bytes() == CONTENT
    assert len(site.asked) == 3
    site.codes = [404]
    with pytest.raises(Error, match=r"the server answers 404 Not Found"):
        zoo.fetch("vgg13", base_url=site.url)
    assert len(site.asked) == 4


def test_nobody_there(monkeypatch):
    with pytest.raises(Error, match=r"cannot download http://127.0.0.1:9/nothing-listens-here/vgg11.*refused"):
        zoo.fetch("vgg11")
    monkeypatch.setenv("STYLOGRAM_MIRROR", "")
    assert zoo.ENTRIES["vgg11"].base_url == "https://download.pytorch.org/models/"


def test_the_mirror_is_used(site, monkeypatch):
    monkeypatch.setenv("STYLOGRAM_MIRROR", site.url + "/")
    assert zoo.fetch("vgg11").read_bytes() == CONTENT


def test_several_at_once_download_once(site):
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(zoo.fetch("vgg11", base_url=site.url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert len(paths) == 4
    assert paths[0].read_bytes() == CONTENT
    assert len(site.asked) == 1


def test_a_cache_that_cannot_be_written(site, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Error, match=r"cannot write to .*: Not a directory"):
        zoo.fetch("vgg11", base_url=site.url, cache_dir=tmp_path / "file" / "cache")


def test_a_full_disk_keeps_the_part(site, tmp_path, monkeypatch):
    site.cuts = [400_000]
    copy = zoo._Download._copy

    def full(self, answer, file, done, total):
        if done:
            raise OSError(28, "No space left on device")
        return copy(self, answer, file, done, total)

    monkeypatch.setattr(zoo._Download, "_copy", full)
    with pytest.raises(Error, match="No space left on device"):
        zoo.fetch("vgg11", base_url=site.url)
    assert left(tmp_path / "cache") == ["vgg11-8a719046.pth.part"]


def test_names():
    assert zoo.names() == ["seednet", "random", "vgg11", "vgg13", "vgg16", "vgg19"]
    with pytest.raises(Error, match="unknown network to fetch 'random'; accepted: vgg11"):
        zoo.fetch("random")
    with pytest.raises(Error, match="unknown network 'vgg18'; accepted: vgg1"):
        zoo.resolve("vgg18")


def test_the_default_needs_nothing():
    network = zoo.resolve(zoo.DEFAULT)
    assert (network.name, network.assumed_preprocess) == ("seednet", False)
    assert zoo.resolve("seednet", "unit", "max").provenance["pooling"] == "max"


def test_random_weights_come_from_the_seed():
    network = zoo.resolve("random", seed=3)
    assert (network.name, network.provenance["weights"]) == ("random", "random, seed 3")
    assert network.provenance["pooling"] == "avg"
    assert zoo.resolve("random", "unit", "max").preprocess == PREPROCESS["unit"]
    assert zoo.resolve(network) is network


def test_named_weights_that_are_not_here():
    with pytest.raises(Error, match=r"the weights of vgg19 are not here: `stylogram network fetch vgg19` downloads it"):
        zoo.resolve("vgg19")


@pytest.mark.parametrize("spec", ["nowhere.onnx", "some/where", "./vgg19"])
def test_files_that_are_not_there(spec):
    with pytest.raises(Error, match=r"no such network file: .*; accepted: a file, or one of seednet, random, vgg11"):
        zoo.resolve(spec)


def saved(tensors: dict[str, np.ndarray], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: torch.from_numpy(value) for name, value in torchvision_keys(tensors).items()}
    torch.save(state, path)
    return path


def test_fetched_weights_and_files_resolve(tmp_path):
    path = saved(weights("vgg19"), tmp_path / "cache" / zoo.ENTRIES["vgg19"].file)
    network = zoo.resolve("vgg19", pooling="avg")
    assert network.name == "vgg19"
    assert network.preprocess == PREPROCESS["imagenet"]
    assert not network.assumed_preprocess  # the table knows
    assert network.provenance["pooling"] == "avg"
    assert zoo.resolve(str(path)).assumed_preprocess
    assert zoo.resolve(path, "caffe").preprocess == PREPROCESS["caffe"]


def test_cached_weights_of_another_architecture(tmp_path):
    saved(weights("vgg16"), tmp_path / "cache" / zoo.ENTRIES["vgg19"].file)
    with pytest.raises(Error, match="weights of vgg19 are needed, got those of vgg16"):
        zoo.resolve("vgg19")
