"""docs/benchmarks.md is what the records say, and the goals are judged by them."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from stylogram.cli import main
from stylogram_bench import goals, parts, records, report

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"


def test_the_page_is_what_the_script_makes_of_the_records(tmp_path: Path) -> None:
    page = ROOT / "docs" / "benchmarks.md"
    made = report.page(RESULTS, page.parent)
    assert page.read_text() == made, "stylogram bench --report docs/benchmarks.md -o bench/results makes it anew"


def test_every_link_and_every_record_that_a_page_names_is_there() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?:\.\./)?(bench/results/[^)#]+)\)", page.read_text()):
            assert (ROOT / link).exists(), f"{page.name}: {link}"


def test_every_record_is_on_the_page() -> None:
    made = report.page(RESULTS, ROOT / "docs")
    for path in RESULTS.glob("*.json"):
        assert f"({'../bench/results'}/{path.name})" in made


def goal(told: dict[str, Any], what: str) -> goals.Goal:
    return next(goal for goal in goals.goals(told) if what in goal.what)


def test_a_goal_is_met_only_if_every_size_meets_it() -> None:
    ratio = {"median": 2.1, "min": 2.0, "max": 2.2}
    record = {"ratio": ratio, "share_outside_network": 0.07}
    slow = copy.deepcopy(record)
    slow["ratio"]["median"], slow["share_outside_network"] = 1.99, 0.081
    assert goal({"iteration_64": record}, "an iteration against").met
    assert not goal({"iteration_64": record, "iteration_128": slow}, "an iteration against").met
    assert goal({"iteration_64": record}, "losses and optimiser").met
    assert not goal({"iteration_64": slow}, "losses and optimiser").met
    assert goal({}, "an iteration against").met is None


def test_time_to_a_loss_is_judged_by_its_slowest_pair() -> None:
    def told(*shares: float | None) -> dict[str, Any]:
        pairs = [{"methods": {"plain": {"share": share}}} for share in shares]
        return {
            "convergence": {
                "networks": [{"network": "net", "size": 64, "best": "plain", "pairs": pairs, "measured": {}}]
            }
        }

    assert goal(told(0.2, 0.33), "time to within").met
    assert not goal(told(0.2, 0.34), "time to within").met
    assert not goal(told(0.2, None), "time to within").met


def test_memory_is_judged_by_pytorch_s_leanest() -> None:
    def told(**medians: float) -> dict[str, Any]:
        return {"memory_1024": {"ratio": {who: {"median": m, "min": m, "max": m} for who, m in medians.items()}}}

    assert goal(told(ours=1.0, channels_last=0.6, compile=0.7), "peak memory").met
    assert not goal(told(ours=1.0, channels_last=0.6, compile=0.8), "peak memory").met


def test_sizes_stand_by_value(tmp_path: Path) -> None:
    for name in ("memory_1024", "memory_512", "batch"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert list(records.read(tmp_path)) == ["batch", "memory_512", "memory_1024"]


def test_the_command_prints_and_keeps_what_a_part_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((RESULTS / "batch.json").read_text())
    monkeypatch.setitem(parts.PARTS, "batch", lambda setting: iter([("batch", record)]))
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--parts", "batch", "-o", "out"]) == 0
    assert "one at a time" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "batch.json").read_text())["rows"] == record["rows"]
    assert main(["bench", "--report", "page.md", "-o", "out"]) == 0
    assert "out/batch.json" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--parts", "speed"], "unknown part 'speed'"),
        (["--sizes", "big"], "whole numbers joined by commas"),
        (["--sizes", "32"], "at least 64"),
        (["--report", "page.md", "-o", "nowhere"], "a directory of records is needed"),
        (["--report", "page.txt", "-o", "."], ".md"),
        (["--parts", "batch", "-o", "file"], "not a directory"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["bench", *arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert told in line
