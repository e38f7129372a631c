"""Output files: whole or not there, and asked for before computing."""

import errno
import os
import stat
from pathlib import Path

import pytest
from picture_files import one_line, unprivileged
from stylogram import files
from stylogram.errors import Error


def test_bytes_and_text_arrive_and_nothing_else_is_left(tmp_path: Path) -> None:
    with files.atomic(tmp_path / "a.bin") as file:
        file.write(b"\x00\xff")
    with files.atomic(tmp_path / "a.txt", "w") as file:
        file.write("Öl")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "Öl"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.txt"]


def test_before_the_end_the_old_file_is_there(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with files.atomic(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
        others = [p for p in tmp_path.iterdir() if p != target]
        assert [p.name.startswith(".a.bin.") for p in others] == [True]
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("problem", [RuntimeError("no"), KeyboardInterrupt()])
def test_any_failure_leaves_the_old_file_and_passes_on(tmp_path: Path, problem: BaseException) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fail() -> None:
        with files.atomic(target) as file:
            file.write(b"half")
            raise problem

    with pytest.raises(type(problem)):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_disk_full_is_one_line_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(Error) as raised, files.atomic(target) as file:
        file.write(b"new")
    one_line(raised, str(target), "No space left on device")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_disk_full_while_the_data_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    real_open = open
    monkeypatch.setattr(files, "open", lambda *_, **__: real_open("/dev/full", "wb", buffering=0), raising=False)
    with pytest.raises(Error) as raised, files.atomic(target) as file:
        file.write(bytes(1 << 16))
    one_line(raised, "No space left on device")
    assert target.read_bytes() == b"old"


def test_permissions_of_new_and_replaced_files(tmp_path: Path) -> None:
    old_mask = os.umask(0o027)
    try:
        with files.atomic(tmp_path / "new") as file:
            file.write(b"1")
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    with files.atomic(tmp_path / "new") as file:
        file.write(b"2")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with files.atomic(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_long_names(tmp_path: Path) -> None:
    name = "ü" * 120 + ".png"
    assert files.check_output(tmp_path / name) == tmp_path / name
    with files.atomic(tmp_path / name) as file:
        file.write(b"1")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_check_accepts_new_and_existing_files_and_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "b.PNG").write_bytes(b"old")
    assert files.check_output(str(tmp_path / "a.png"), [".png"]) == tmp_path / "a.png"
    files.check_output(tmp_path / "b.PNG", [".png"])
    files.check_output(tmp_path / "anything")
    assert [p.name for p in tmp_path.iterdir()] == ["b.PNG"]
    assert (tmp_path / "b.PNG").read_bytes() == b"old"


def test_check_without_a_directory_in_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.check_output("out.png", [".png"]) == Path("out.png")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.gif", ["out.gif", "'.gif'", "accepted: .png, .jpg"]),
        ("out", ["no suffix", "accepted: .png, .jpg"]),
        ("folder.png", ["is a directory"]),
        ("missing/out.png", ["no directory", "missing"]),
        ("file/out.png", ["file is not a directory"]),
        ("pipe.png", ["not a regular file"]),
        ("a\0b.png", ["NUL"]),
        ("x" * 300 + ".png", ["File name too long"]),
    ],
)
def test_check_refuses(tmp_path: Path, name: str, words: list[str]) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Error) as raised:
        files.check_output(tmp_path / name, [".png", ".jpg"])
    one_line(raised, *words)


def test_check_refuses_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with unprivileged(), pytest.raises(Error) as raised:
            files.check_output(tmp_path / "out.png")
    finally:
        tmp_path.chmod(0o755)
    one_line(raised, "out.png", "Permission denied")


def test_check_refuses_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(Error) as raised:
        files.check_output(tmp_path / "out.png")
    one_line(raised, "Read-only file system")


def test_a_path_that_is_too_long_for_the_system(tmp_path: Path) -> None:
    """Its hidden name cannot be removed either."""
    path = tmp_path / "/".join(["d" * 200] * 25)
    said = r"cannot be written: File name too long; an older file is left as it was$"
    with pytest.raises(Error, match=said), files.atomic(path):
        pass
