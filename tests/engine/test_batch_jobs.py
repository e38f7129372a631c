"""The rows of a batch: what they may say, and the one line for each thing that is wrong with them."""

import json
import time

import numpy as np
import pytest
from stylogram.batching import rows
from stylogram.batching.jobs import FIELDS, Reader, pairs
from stylogram.cli import main
from stylogram.errors import Error


def accept(options):
    """Networks and layers are looked up elsewhere."""


def read(folder, text, name="jobs.csv", defaults=None, directory="out"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Reader(folder / directory, folder, defaults or {}, accept).jobs(str(path), rows.read(path, FIELDS))


def test_csv_and_json_lines_say_the_same(tmp_path):
    table = read(tmp_path, 'content,style,output,style-weight,style_blend\na.jpg,"b.jpg; d/e.jpg",x/y.png,7,"1,2"\n')
    line = {"content": "a.jpg", "style": ["b.jpg", "d/e.jpg"], "output": "x/y.png", "style-weight": 7}
    other = read(tmp_path, json.dumps({**line, "style_blend": [1, 2]}) + "\n\n", "jobs.jsonl")
    for job in (table[0], other[0]):
        assert job.content == str(tmp_path / "a.jpg")
        assert job.styles == (str(tmp_path / "b.jpg"), str(tmp_path / "d/e.jpg"))
        assert job.output == "x/y.png"
        assert (job.options.style_weight, job.options.style_blend) == (7.0, (1.0, 2.0))
    assert len(table) == len(other) == 1


def test_a_row_goes_before_the_defaults_and_empty_cells_are_not_given(tmp_path):
    jobs = read(tmp_path, "content,style,size,iterations\na,b,64,\nc,b,,9\n", defaults={"size": 48, "iterations": 5})
    assert [(job.options.size, job.options.iterations) for job in jobs] == [(64, 5), (48, 9)]
    assert [job.output for job in jobs] == ["a__b.png", "c__b.png"]


def test_the_paths_of_options_are_relative_to_the_file_but_not_those_of_the_defaults(tmp_path):
    text = "content,style,init,network,mask\na,b,start.png,nets/n.onnx,m.png;n.png\nc,b,random,vgg19,\n"
    first, second = read(tmp_path, text, defaults={"network": "mine.onnx"})
    assert first.options.init == str(tmp_path / "start.png")
    assert first.options.network == str(tmp_path / "nets/n.onnx")
    assert first.options.mask == ((str(tmp_path / "m.png"), str(tmp_path / "n.png")),)
    assert (second.options.init, second.options.network) == ("random", "vgg19")
    assert read(tmp_path, "content,style\na,b\n", defaults={"network": "mine.onnx"})[0].options.network == "mine.onnx"


def test_a_job_s_digest_is_of_what_makes_its_picture(tmp_path):
    def digest(text, **defaults):
        return read(tmp_path, "content,style,size,seed\n" + text, defaults=defaults)[0].digest

    same = digest("a,b,64,1\n")
    assert digest("a,b,64,1\n", threads=2) == same
    others = [digest(row) for row in ("a,b,65,1\n", "a,b,64,2\n", "c,b,64,1\n", "a,d,64,1\n")]
    others.append(digest("a,b,64,1\n", style_weight=3))
    assert len({same, *others}) == 6


HEAD = "content,style,output,size\n"
BAD = [
    ("jobs.csv", "", "jobs.csv is empty; accepted: a row for each picture"),
    ("jobs.csv", " \n\n", "jobs.csv is empty"),
    ("jobs.csv", HEAD, "jobs.csv has no jobs"),
    ("jobs.csv", "content,output\na,b.png\n", "there is no column 'style'; accepted: a header with content and style"),
    ("jobs.csv", "content,stlye\na,b\n", "unknown column 'stlye'; accepted: style"),
    ("jobs.csv", "content,style,size,size\na,b,1,1\n", "column 'size' is there twice"),
    ("jobs.csv", HEAD + "a,b,c.png,64,5\n", "row 1 (line 2): 5 cells; accepted: 4"),
    ("jobs.csv", HEAD + 'a,"b,c.png,64\n', "unexpected end of data"),
    ("jobs.csv", HEAD + "a,b,c.png,big\n", "row 1 (line 2): size: should be a valid integer"),
    ("jobs.csv", HEAD + "a,,c.png,64\n", "row 1 (line 2): style: a picture's path is needed, got nothing"),
    ("jobs.csv", HEAD + "a,b;,c.png,64\n", "style: names separated by ; are accepted, none of them empty"),
    ("jobs.csv", HEAD + "a,b,c.png,4\nd,e,f.gif,64\n", "size: should be greater than or equal to 16, got '4'; 1 more"),
    ("jobs.csv", HEAD + "a,b,c.gif,64\n", "output: 'c.gif' has suffix '.gif'; accepted: .png"),
    ("jobs.csv", HEAD + "a,b,../c.png,64\n", "output: '../c.png' is a path outside; accepted: a file below"),
    ("jobs.csv", HEAD + "a,b,x/../../c.png,64\n", "is a path outside"),
    ("jobs.csv", HEAD + "a,b,/elsewhere/c.png,64\n", "is a path outside"),
    ("jobs.csv", HEAD + f"a,b,{'x' * 300}.png,64\n", "output: a name of over 255 bytes"),
    (
        "jobs.csv",
        HEAD + "a,b,c.png,\nd,e,f.png,\ng,h,./c.png,\n",
        "row 3 (line 4): output: 'c.png' is also that of row 1",
    ),
    (
        "jobs.csv",
        HEAD + "a,b,,48\na,b,,64\n",
        "row 2 (line 3): output: 'a__b.png' (made from content and style) is also",
    ),
    ("jobs.csv", HEAD + "out/c.png,b,d.png,\na,b,c.png,\n", "row 2 (line 3): output: 'c.png' is a picture that row 1"),
    (
        "jobs.csv",
        "content,style,output,init\na,b,c.png,out/c.png\n",
        "row 1 (line 2): output: 'c.png' is a picture that",
    ),
    ("jobs.csv", "content,style,output,mask\na,b,c.png,m;out/c.png\n", "output: 'c.png' is a picture that row 1"),
    ("jobs.csv", "content,style,style-blend\na,b;c,1\n", "style-blend: 2 numbers are accepted"),
    ("jobs.csv", "content,style,mask\na,b,m.png\n", "mask: pairs CONTENT_MASK;STYLE_MASK are accepted, got 1 names"),
    ("jobs.txt", "a b\n", "has suffix '.txt'; accepted: .csv, .jsonl"),
    ("jobs.jsonl", '{"content": "a"\n', "row 1 (line 1): no JSON"),
    ("jobs.jsonl", '\n["a"]\n', "row 1 (line 2): a JSON object is accepted, got list"),
    (
        "jobs.jsonl",
        '{"content": "a", "style": "b", "sise": 64}\n',
        "row 1 (line 1): unknown field 'sise'; accepted: size",
    ),
    ("jobs.jsonl", '{"content": 3, "style": "b"}\n', "content: a picture's path is accepted, got 3"),
    ("jobs.jsonl", '{"content": "a", "style": []}\n', "style: at least one picture is needed, got none"),
    ("jobs.jsonl", '{"content": "a", "style": ["b", 4]}\n', "style: a picture's path is accepted, got 4"),
    ("jobs.jsonl", '{"content": "a", "style": "b", "size": [1]}\n', "size: should be a valid integer"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_bad_rows(tmp_path, name, text, message):
    with pytest.raises(Error) as caught:
        read(tmp_path, text, name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(Error, match="cannot be read: No such file"):
        rows.read(tmp_path / "none.csv", FIELDS)
    (tmp_path / "latin.csv").write_bytes("content,style\nö,b\n".encode("latin-1"))
    with pytest.raises(Error, match="is not UTF-8"):
        rows.read(tmp_path / "latin.csv", FIELDS)
    (tmp_path / "bom.csv").write_text("content,style\na,b\n", encoding="utf-8-sig")
    assert rows.read(tmp_path / "bom.csv", FIELDS)[0].values == {"content": "a", "style": "b"}


def test_row_812_is_named_and_nothing_is_made(tmp_path, monkeypatch, capsys):
    lines = [f"c{number}.png,s.png,{64 if number != 812 else 'vast'}" for number in range(1, 1001)]
    (tmp_path / "jobs.csv").write_text("content,style,size\n" + "\n".join(lines))
    monkeypatch.chdir(tmp_path)
    assert main(["batch", "jobs.csv", "-o", "out"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: jobs.csv, row 812 (line 813): size: should be a valid integer")
    assert "got 'vast'" in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.csv"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_hundred_thousand_rows(tmp_path, suffix, capsys):
    count = 100_000
    weights = np.arange(count) % 50
    if suffix == ".csv":
        text = "content,style,output,style-weight\n" + "".join(
            f"c/{number}.jpg,s/{number % 100}.jpg,o/{number}.png,{weight}\n" for number, weight in enumerate(weights)
        )
    else:
        text = "".join(
            json.dumps({"content": f"c/{n}.jpg", "style": f"s/{n % 100}.jpg", "style-weight": int(w)}) + "\n"
            for n, w in enumerate(weights)
        )
    started = time.perf_counter()
    jobs = read(tmp_path, text, f"jobs{suffix}")
    with capsys.disabled():
        print(f"\n{count:,} rows of {suffix}: {time.perf_counter() - started:.1f} s", end="")
    assert len(jobs) == len({job.output for job in jobs}) == len({job.digest for job in jobs}) == count
    assert jobs[77_777].options.style_weight == weights[77_777]


def test_pairs_are_named_after_both_and_by_their_suffix_where_that_alone_differs(tmp_path):
    for name in ("c/a.png", "c/a.jpg", "c/deep/b.png", "c/.hidden.png", "c/readme.txt", "s/x.png", "s/y.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    made = list(pairs(tmp_path / "c", tmp_path / "s"))
    assert [row.values["output"] for row in made] == [
        f"{content}__{style}.png" for content in ("a.jpg", "a.png", "deep_b") for style in ("x", "y")
    ]
    assert made[1].values["content"] == str(tmp_path / "c/a.jpg")
    one = list(pairs(tmp_path / "c/a.png", tmp_path / "s"))
    assert [row.values["output"] for row in one] == ["a__x.png", "a__y.png"]


def test_folders_that_are_not_there_or_empty(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    cases = {
        ("--content", "none", "--style", "empty"): "content: none is not there",
        ("--content", "empty", "--style", "empty"): "content: no picture in empty",
        ("--content", "empty"): "style: a folder of contents and one of styles are accepted, got no style",
        (): "jobs: a file of jobs is accepted, or a folder of contents and one of styles",
        ("j.csv", "--content", "empty"): "jobs: a file of jobs is accepted, or a folder",
    }
    for given, message in cases.items():
        assert main(["batch", *given, "-o", "out"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
