"""The record of a cluster: what is computed past two workers, and its table."""

from stylogram_bench import report
from stylogram_bench.cluster import on_paper

SPREAD = {"median": 1.8, "min": 1.7, "max": 1.9}
ONE = {
    "workers": 1,
    "pictures_an_hour": 3600.0,
    "times_one_worker": {"median": 1.0, "min": 1.0, "max": 1.0},
    "times_without_ray": {"median": 0.97, "min": 0.96, "max": 0.98},
    "seconds_to_start": [3.0, 5.0, 4.0],
    "writer_seconds_a_picture": 0.011,
    "driver_seconds_a_picture": 0.01,
}
TWO = {**ONE, "workers": 2, "pictures_an_hour": 6480.0, "times_one_worker": SPREAD, "writer_seconds_a_picture": 0.012}


def test_past_two_workers_it_is_what_they_make_until_the_driver_is_busy():
    found = {row["workers"]: row["pictures_an_hour"] for row in on_paper(ONE, TWO)}
    assert found[4] == 4 * 3600 * 0.9
    assert found[64] == 64 * 3600 * 0.9
    assert found[256] == found[1024] == 3600 / 0.012
    busy = {row["workers"]: row["pictures_an_hour"] for row in on_paper(ONE, {**TWO, "driver_seconds_a_picture": 0.05})}
    assert busy[64] == busy[1024] == 3600 / 0.05


def test_the_page_has_what_was_measured_and_what_was_computed():
    record = {"size": 128, "pictures": 16, "iterations": 20, "workers": [ONE, TWO], "on_paper": on_paper(ONE, TWO)}
    measured, paper = report.tables("cluster", record)
    assert measured.rows[1] == ("2", "6480", "1.80 (1.70 to 1.90)", "0.97 (0.96 to 0.98)", "4 s", "12 ms", "10 ms")
    assert paper.rows[0] == ("4", "12960")
    assert "not measured" in paper.note
