"""Batches: each picture what it gets alone, nothing made twice, and what goes wrong with one hurts no other."""

import threading

import numpy as np
import pytest
import stylogram
from engine.batches import ARGUMENTS, FAST, STEP, four, jobs, lines, rgb
from stylogram import pictures
from stylogram.batching import memory, shared
from stylogram.cli import main
from stylogram.errors import Error
from stylogram.stages import StagedPass
from stylogram_export.network import save

from engine import nets

# -- each what it gets alone -------------------------------------------------------------------------------------------


ROWS = [
    {"content": "c0.png"},
    {"content": "c1.png", "style": ["s0.png", "s1.png"], "style_blend": "3,1", "style_weight": 40},
    {"content": "c2.png", "style": "s1.png", "tv_weight": 0, "content_weight": 3, "keep_colors": "histogram"},
    {"content": "c0.png", "mask": [["mask.png", "s0.png"]], "init": "random", "seed": 4},
    {"content": "c1.png", "init": "c2.png", "style_layers": "conv1_1=3,conv2_1,conv3_1,conv4_1,conv5_1"},
    {"content": "c2.png", "keep_colors": "luminance", "style_scale": 0.7},
]


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "margin": 3}, {"tolerance": 0.05, "iterations": 40}])
def test_a_picture_gets_what_it_gets_alone(here, options):
    left = np.zeros((36, 48, 3), np.float32)
    left[:, :24] = 1
    pictures.write(here / "mask.png", left)
    rows = [{**row, "output": f"{number}.png"} for number, row in enumerate(ROWS)]
    options = {**FAST, "scales": 2, **options}
    made = stylogram.batch(jobs(here, *rows), output="out", batch=len(rows), **options)
    assert (made.done, made.kept, made.failures) == (6, 0, ())
    losses = {row["output"]: row["loss"] for row in lines()}
    for number, row in enumerate(ROWS):
        own = {"style": "s0.png", **row}
        content, style = own.pop("content"), own.pop("style")
        alone = stylogram.stylize(content, style, **options, **own)
        together = rgb(f"out/{number}.png")
        assert np.abs(together - alone.exact).max() < STEP, number
        assert losses[f"{number}.png"] == pytest.approx(alone.loss, rel=1e-3)
        assert np.abs(together - rgb(content)).max() > 0.02


def test_jobs_of_one_shape_and_network_go_together_and_others_by_themselves(here, monkeypatch):
    shapes = []

    class Watched(StagedPass):
        def __init__(self, model, taps, shape, **options):
            shapes.append(shape)
            super().__init__(model, taps, shape, **options)

    monkeypatch.setattr(shared, "StagedPass", Watched)
    save(nets.narrow(nets.weights(seed=3)), here / "other.onnx")
    rows = [{"content": name, "seed": seed} for seed in (1, 2) for name in ("c0.png", "square.png", "c1.png")]
    rows += [{"content": "c2.png", "network": "other.onnx"}]
    given = jobs(here, *({**row, "output": f"{k}.png"} for k, row in enumerate(rows)))
    stylogram.batch(given, output="out", batch=4, **{**FAST, "threads": 1})
    assert sorted(shapes) == [(1, 3, 36, 48), (2, 3, 48, 48), (4, 3, 36, 48)]
    assert rgb("out/0.png").shape == (36, 48, 3)
    assert rgb("out/1.png").shape == (48, 48, 3)


def test_sessions_are_made_once_and_targets_once_a_style(here, monkeypatch):
    made, looked = [], []

    class Watched(StagedPass):
        def __init__(self, model, taps, shape, **options):
            made.append(shape)
            super().__init__(model, taps, shape, **options)

    def features_of(*given):
        looked.append(given[2].shape)
        return own(*given)

    own = shared.features_of
    monkeypatch.setattr(shared, "StagedPass", Watched)
    monkeypatch.setattr(shared, "features_of", features_of)
    rows = [{"content": f"c{k % 3}.png", "style": f"s{k % 2}.png", "output": f"{k}.png"} for k in range(8)]
    stylogram.batch(jobs(here, *rows), output="out", batch=2, **{**FAST, "scales": 2, "margin": 0, "threads": 1})
    assert sorted(made) == [(2, 3, 18, 24), (2, 3, 36, 48)]
    assert sorted(looked) == [(1, 3, 24, 22), (1, 3, 24, 24), (1, 3, 48, 44), (1, 3, 48, 48)]


def test_a_group_is_shared_among_the_processors(here, monkeypatch):
    monkeypatch.setattr("stylogram.batching.runner.available_threads", lambda: 3)
    meeting, threads = threading.Barrier(3, timeout=60), set()
    monkeypatch.setattr(shared.Group, "stage", _met(shared.Group.stage, meeting, threads))
    rows = [{"content": f"c{k % 3}.png", "output": f"{k}.png", "seed": k} for k in range(5)]
    stylogram.batch(jobs(here, *rows), output="out", batch=5, **FAST)
    assert len(threads) == 3
    for k in range(5):
        alone = stylogram.stylize(f"c{k % 3}.png", "s0.png", seed=k, **FAST)
        assert np.abs(rgb(f"out/{k}.png") - alone.exact).max() < STEP


def _met(stage, meeting, threads):
    def met(self, index, before):
        meeting.wait()  # so three parts are at work at the same time
        threads.add(threading.get_ident())
        return stage(self, index, before)

    return met


# -- one that goes wrong -----------------------------------------------------------------------------------------------


def test_a_picture_in_the_middle_that_cannot_be_read(here, capsys):
    (here / "c1.png").write_bytes((here / "c1.png").read_bytes()[:99])
    rows = [{"content": f"c{k}.png"} for k in range(3)] + [{"content": "none.png"}, {"style": "c1.png"}]
    assert main(["batch", jobs(here, *rows), "-o", "out", *ARGUMENTS]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert all(line.startswith("failed: row ") for line in said)
    assert "row 4 (line 4): there is no file" in "".join(said)
    rows = {row["output"]: row for row in lines()}
    assert {name for name, row in rows.items() if row["error"] is None} == {"c0__s0.png", "c2__s0.png"}
    assert "truncated or damaged PNG" in rows["c1__s0.png"]["error"]
    assert rows["c1__s0.png"]["loss"] is None
    pictures.write(here / "c1.png", nets.blocks(36, 48, 2))
    pictures.write(here / "none.png", nets.blocks(36, 48, 2))
    assert main(["batch", "jobs.jsonl", "-o", "out", *ARGUMENTS]) == 0  # what failed is tried again, and only that
    assert [row["output"] for row in lines() if row["error"] is None].count("c0__s0.png") == 1


def test_a_loss_that_is_no_number_fails_alone(here):
    rows = [{"content": f"c{k}.png", "output": f"{k}.png"} for k in range(3)]
    rows[1]["content_weight"] = 1e300
    made = stylogram.batch(jobs(here, *rows), output="out", batch=3, **{**FAST, "optimizer": "adam"})
    assert made.done == 2
    ((place, error),) = made.failures
    assert place == "row 2 (line 2)"
    assert "try a smaller --learning-rate" in error
    alone = stylogram.stylize("c2.png", "s0.png", **FAST, optimizer="adam")
    assert np.abs(rgb("out/2.png") - alone.exact).max() < STEP


def test_a_job_whose_stage_cannot_be_made_fails_alone(here, monkeypatch):
    own = shared.Group.targets

    def targets(self, subject, number, index):
        if subject.options.seed == 1:
            raise Error("the style's features overflow")
        return own(self, subject, number, index)

    monkeypatch.setattr(shared.Group, "targets", targets)
    rows = [{"content": f"c{k % 3}.png", "output": f"{k}.png", "seed": k} for k in range(4)]
    made = stylogram.batch(jobs(here, *rows), output="out", batch=4, **FAST)
    assert (made.done, made.failures) == (3, (("row 2 (line 2)", "the style's features overflow"),))
    assert sorted(row["output"] for row in lines()) == ["0.png", "1.png", "2.png", "3.png"]


def test_a_shape_for_which_there_is_no_gradient_fails_alone(here, monkeypatch):
    own = memory.bytes_a_picture

    def refused(model, taps, size, recipe):
        if size[0] == size[1]:
            raise Error("node pool4: no gradient at this size")
        return own(model, taps, size, recipe)

    monkeypatch.setattr(memory, "bytes_a_picture", refused)
    made = stylogram.batch(jobs(here, {}, {"content": "square.png"}), output="out", **FAST)
    assert (made.done, made.failures) == (1, (("row 2 (line 2)", "node pool4: no gradient at this size"),))


def test_wrong_networks_and_layers_are_found_before_anything_is_made(here, capsys):
    cases = {
        '"network": "none.onnx"': "row 2 (line 2): no such network file",
        '"style_layers": "conv9_9"': "row 2 (line 2): ",
        '"style_loss": "grim"': "row 2 (line 2): unknown style loss 'grim'; accepted: gram",
        '"content_weight": 0, "style_weight": 0': "row 2 (line 2): content-weight and style-weight are both 0",
    }
    for wrong, message in cases.items():
        first = '{"content": "c0.png", "style": "s0.png"}\n'
        (here / "jobs.jsonl").write_text(first + '{"content": "c1.png", "style": "s0.png", ' + wrong + "}\n")
        assert main(["batch", "jobs.jsonl", "-o", "out", *ARGUMENTS]) == 2
        assert message in capsys.readouterr().err
    assert not (here / "out").exists()


@pytest.mark.parametrize("batch", ["0", "many", "-1", "1.5"])
def test_a_wrong_batch(here, capsys, batch):
    assert main(["batch", four(here), "-o", "out", "--batch", batch, *ARGUMENTS]) == 2
    assert f"batch: auto or a number from 1 to 4096 is accepted, got '{batch}'" in capsys.readouterr().err


# -- from Python and on the screen ------------------------------------------------------------------------------------


def test_from_python_rows_may_hold_arrays_and_a_network(here):
    start = nets.blocks(36, 48, 11)
    rows = [{"content": here / "c0.png", "style": here / "s0.png", "init": start, "network": nets.narrow()}]
    assert stylogram.batch(rows, output="out", size=48, iterations=2).done == 1
    assert stylogram.batch(rows, output="out", size=48, iterations=2).kept == 1
    rows[0]["init"] = 1 - start
    assert stylogram.batch(rows, output="out", size=48, iterations=2).done == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jobs": 5}, "jobs: a file or a list of mappings is accepted, got int"),
        ({"jobs": ["a"]}, "row 1: a mapping of fields to values is accepted, got str"),
        ({"jobs": []}, "jobs has no jobs"),
        ({"jobs": [{}], "callback": 7}, "callback: a function of one Progress is accepted, got 7"),
        ({"jobs": [{}], "sise": 7}, "unknown option 'sise'; accepted: size"),
        ({"jobs": [{}], "batch": True}, "batch: auto or a number"),
    ],
)
def test_bad_input_from_python(tmp_path, given, message):
    with pytest.raises(Error, match=message):
        stylogram.batch(**given, output=tmp_path / "out")


def test_the_last_line_says_what_was_made(here, capsys):
    assert main(["batch", "--content", "square.png", "--style", "s0.png", "-o", "out", *ARGUMENTS[:-1]]) == 0
    assert capsys.readouterr().err.startswith("out: 1 pictures made, ")
    assert (here / "out/square__s0.png").exists()
