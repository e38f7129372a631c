"""Jobs from a request to a picture: what clients see on the way, cancelling, several at once, and every refusal."""

import base64
import json
import time

import numpy as np
import pytest
import stylogram
from service.serving import (
    CONTENT,
    LONG,
    QUICK,
    STYLE,
    asked,
    ended,
    events,
    noise,
    png,
    post,
    rgb,
    running,
    shape,
    state,
    until,
)  # fmt: skip
from stylogram import pictures
from stylogram.options import checked
from stylogram.service import catalogue, work

from engine import nets


def test_a_picture_is_that_of_the_function(client, server):
    job = ended(client, asked(client, iterations="6", seed="3"))
    assert (job["state"], job["error"], job["size"]) == ("done", None, [24, 32])
    assert job["options"] == {**QUICK, "iterations": "6", "seed": "3"}
    answer = client.get(job["picture"])
    assert answer.headers["content-type"] == "image/png"
    made = stylogram.stylize(
        pictures.decode(CONTENT).rgb, pictures.decode(STYLE).rgb, size=32, iterations=6, seed=3, network=nets.narrow()
    )
    assert np.abs(rgb(answer.content) - made.exact).max() <= 1.01 / 255
    assert job["loss"] == pytest.approx(made.loss, rel=1e-3)


def test_events_tell_every_iteration(client):
    job = asked(client, iterations="40")
    seen = list(events(client, job))
    rows = [data for name, data in seen if name == "progress"]
    assert [row["iteration"] for row in rows] == list(range(41))
    assert rows[-1]["loss"] < rows[0]["loss"]
    states = [data["state"] for name, data in seen if name == "state"]
    assert states[-1] == "done"
    assert set(states) <= {"queued", "running", "done"}
    previews = [data["picture"] for name, data in seen if name == "preview"]
    assert shape(base64.b64decode(previews[-1].removeprefix("data:image/jpeg;base64,"))) == (24, 32)
    assert seen[-1] == ("end", {"state": "done"})
    again = [
        data["iteration"] for name, data in events(client, job, headers={"Last-Event-ID": "39"}) if name == "progress"
    ]
    assert again == [39, 40]
    assert not [name for name, _ in events(client, job, params={"preview": "false"}) if name == "preview"]


def test_the_original_and_the_preview(client):
    job = ended(client, asked(client))
    for name, size in (("before", (24, 32)), ("preview", (24, 32))):
        answer = client.get(f"/v1/jobs/{job['id']}/{name}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert shape(answer.content) == size
    before = rgb(client.get(job["before"]).content)
    grey = (before - pictures.resized(rgb(CONTENT), (24, 32))).mean(axis=2)  # JPEG blurs the colours of 4 pixels
    assert np.abs(grey).mean() < 0.05


def test_cancelling_takes_an_iteration_and_keeps_the_picture(client):
    job = asked(client, **LONG)
    running(client, job, 5)
    at = state(client, job)["progress"]["iteration"]
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 200
    started = time.monotonic()
    made = ended(client, job)
    assert time.monotonic() - started < 2
    assert made["state"] == "cancelled"
    rows = [data for name, data in events(client, job) if name == "progress"]
    assert rows[-1]["iteration"] - at < 3900 / 4
    assert shape(client.get(made["picture"]).content) == (36, 48)


def test_the_iteration_after_a_cancel_is_the_last(client, server):
    """The worker looks after every iteration: what it says after it has heard of a cancel is the end."""
    job = asked(
        client, network="seednet", size="192", iterations="300"
    )  # slow enough that iterations can be told apart
    running(client, job, 2)
    client.delete(f"/v1/jobs/{job['id']}")
    rows = len(server.dispatcher.board.live[job["id"]].rows) if job["id"] in server.dispatcher.board.live else None
    ended(client, job)
    done = [data for name, data in events(client, job) if name == "progress"]
    assert rows is None or len(done) - rows <= 2  # the one that was under way, and the one that saw it


def test_a_waiting_job_is_cancelled_at_once_and_an_ended_one_removed(client):
    long = asked(client, **LONG)
    running(client, long)
    job = asked(client, size="40")
    assert state(client, job)["position"] == 0
    assert client.delete(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    assert client.get(f"/v1/jobs/{job['id']}/picture").status_code == 409
    client.delete(f"/v1/jobs/{long['id']}")
    ended(client, long)
    assert client.delete(f"/v1/jobs/{long['id']}").status_code == 200
    for path in ("", "/events", "/picture", "/preview", "/before"):
        assert client.get(f"/v1/jobs/{long['id']}{path}").status_code == 404
    assert client.delete(f"/v1/jobs/{long['id']}").status_code == 404


def test_jobs_of_one_shape_are_painted_together_and_each_as_alone(client, server):
    blocker = asked(client, **LONG)
    running(client, blocker)
    alike = [asked(client, size="40", iterations="8", seed=str(seed), content=png(seed=seed)) for seed in range(4)]
    other = asked(client, size="48", iterations="8", content=png(seed=1))
    groups = []
    paint = server.dispatcher.foreman._paint
    server.dispatcher.foreman._paint = lambda group: (groups.append([live.job.id for live in group]), paint(group))[1]
    client.delete(f"/v1/jobs/{blocker['id']}")
    done = [ended(client, job) for job in (*alike, other)]
    server.dispatcher.foreman._paint = paint
    assert [job["state"] for job in done] == ["done"] * 5
    assert sorted(map(len, groups)) == [1, 4]
    for seed, job in ((0, done[0]), (3, done[3])):
        alone = stylogram.stylize(
            rgb(png(seed=seed)), rgb(STYLE), size=40, iterations=8, seed=seed, network=nets.narrow()
        )
        assert np.abs(rgb(client.get(job["picture"]).content) - alone.exact).max() <= 2.01 / 255


def test_one_of_a_group_is_cancelled_alone(client):
    blocker = asked(client, **LONG)
    running(client, blocker)
    alike = [asked(client, size="40", iterations="300", seed=str(seed)) for seed in range(4)]
    client.delete(f"/v1/jobs/{blocker['id']}")
    running(client, alike[0])
    client.delete(f"/v1/jobs/{alike[0]['id']}")
    assert [ended(client, job)["state"] for job in alike] == ["cancelled", "done", "done", "done"]


@pytest.mark.parametrize(
    ("task", "fields", "options"),
    [
        ("texture", {"source": STYLE}, {"size": "48x32"}),
        ("dream", {"image": CONTENT}, {"size": "48", "octaves": "2"}),
        ("reconstruct", {"image": CONTENT}, {"size": "32"}),
        ("maximize", {}, {"layer": "conv1_1", "unit": "2", "size": "32"}),
    ],
)
def test_the_other_tasks(client, task, fields, options):
    files = [(name, ("x", data)) for name, data in fields.items()] or [("task", (None, task))]
    data = {"task": task, "network": "narrow", "iterations": "3", **options}
    if not fields:
        del data["task"]
    answer = client.post("/v1/jobs", files=files, data=data)
    assert answer.status_code == 202, answer.text
    job = ended(client, answer.json())
    assert (job["state"], job["error"]) == ("done", None)
    assert list(shape(client.get(job["picture"]).content)) == job["size"]
    assert (job["before"] is not None) == bool(fields)


def test_an_option_is_called_as_on_the_command_line(client):
    options = {"class": 3, "size": 32, "iterations": 1, "tv-weight": 1}
    made = client.post("/v1/jobs", json={"task": "maximize", "options": options})
    assert made.status_code == 202, made.text
    assert ended(client, made.json())["state"] == "done"


def test_masks_a_start_and_another_format(client):
    white = png(36, 48, 1, cell=100)
    files = [("content", ("a", CONTENT)), ("style", ("b", STYLE)), ("init", ("c", png(seed=9))),
             ("content_mask", ("d", white)), ("style_mask", ("e", white))]  # fmt: skip
    job = ended(client, post(client, files=files, format="webp").json())
    assert (job["state"], job["error"]) == ("done", None)
    answer = client.get(job["picture"])
    assert answer.headers["content-type"] == "image/webp"
    assert shape(answer.content) == (24, 32)
    assert job["pictures"] == {"content": 1, "style": 1, "init": 1, "content_mask": 1, "style_mask": 1}


def test_json_with_data_urls(client):
    url = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in (CONTENT, STYLE)]
    body = {"task": "stylize", "pictures": {"content": url[0], "style": [url[1], url[1]]},
            "options": {"network": "narrow", "size": 32, "iterations": 2, "style_blend": [2, 1]}}  # fmt: skip
    job = ended(client, client.post("/v1/jobs", json=body).json())
    assert (job["state"], job["pictures"]) == ("done", {"content": 1, "style": 2})


PIXELS = "accepted: sides of at least 16"


@pytest.mark.parametrize(
    ("status", "said", "options"),
    [
        (422, "unknown option 'sise'; accepted: size", {"sise": "32"}),
        (422, "size: should be greater than or equal to 16, got '3'", {"size": "3"}),
        (422, "size: 300 pixels; this server accepts up to 256", {"size": "300"}),
        (422, "size: the picture would be 512 pixels long, and no size is given", {"size": ""}),
        (422, "iterations: 9000 over all scales and pictures; this server accepts up to 4000", {"iterations": "9000"}),
        (422, "iterations: 4500 over all scales", {"iterations": "1500", "scales": "3"}),
        (422, "style-scale: the style would be 512 pixels long", {"size": "128", "style_scale": "4"}),
        (422, "unknown network 'nets'", {"network": "nets"}),
        (422, "unknown network '/etc/passwd'", {"network": "/etc/passwd"}),
        (422, "init: content or random is accepted, or an uploaded picture", {"init": "/etc/passwd"}),
        (422, "unknown option 'threads'", {"threads": "1"}),
        (422, "unknown task 'paint'", {"task": "paint"}),
        (422, "unknown task 'deconvnet'", {"task": "deconvnet"}),
        (422, "unknown format 'gif'; accepted: tiff, png, jpg, webp", {"format": "gif"}),
        (422, "unknown option 'mask'", {"mask": "a b"}),
        (422, "seed: one value is accepted, got several", {"seed": ["1", "1"]}),
        (415, f"content has 4x4 pixels; {PIXELS}", {"content": noise(4, 4)}),
        (415, "content is empty (0 bytes)", {"content": b""}),
        (415, "content is not a picture (it starts with bytes 50 4b 03 04", {"content": b"PK\3\4" + b"\0" * 90}),
        (415, "content is a truncated or damaged PNG file", {"content": CONTENT[:-20]}),
        (422, "style: a picture is needed, got none", {"files": [("content", ("a", CONTENT))]}),
        (422, "unknown picture of stylize 'photo'", {"files": [("photo", ("a", CONTENT))]}),
        (422, "content: at most 1 pictures are accepted, got 2",
         {"files": [("content", ("a", CONTENT)), ("content", ("b", CONTENT)), ("style", ("c", STYLE))]}),
        (422, "content_mask, style_mask: as many of the one",
         {"files": [(name, ("a", CONTENT)) for name in ("content", "style", "style_mask")]}),
    ],
)  # fmt: skip
def test_what_is_refused(client, server, status, said, options):
    before = server.dispatcher.store.ids()
    answer = post(client, **options)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert server.dispatcher.store.ids() == before


@pytest.mark.parametrize(
    ("status", "said", "body", "kind"),
    [
        (422, "the body is not JSON", b"{", "application/json"),
        (422, "an object is accepted, got list", b"[]", "application/json"),
        (422, "NaN is none of JSON's numbers", b'{"options": {"tv_weight": NaN}}', "application/json"),
        (422, "surrogates not allowed", b'{"options": {"\\ud800": 1}}', "application/json"),
        (
            422,
            "options: over 65,536 characters",
            b'{"options": {"preset": "' + b"x" * 70_000 + b'"}}',
            "application/json",
        ),
        (422, "the body is not JSON: ", b"[" * 100_000, "application/json"),
        (422, "unknown field 'x'", b'{"x": 1}', "application/json"),
        (403, "this server fetches no URLs", b'{"pictures": {"content": "http://127.0.0.1/x"}}', "application/json"),
        (422, "a data: URL is accepted", b'{"pictures": {"content": "file:///etc/passwd"}}', "application/json"),
        (422, "must be in base64", b'{"pictures": {"content": "data:image/png,x"}}', "application/json"),
        (
            422,
            "content: the data: URL's base64 is damaged",
            b'{"pictures": {"content": "data:image/png;base64,*", "style": "data:image/png;base64,*"}}',
            "application/json",
        ),
        (415, "a body of type 'text/plain'", b"x", "text/plain"),
        (422, "the body is not multipart/form-data: Missing boundary", b"x", "multipart/form-data"),
        (422, "the body is not multipart/form-data: ", b"x", "multipart/form-data; boundary=y"),
        (
            422,
            "the body is not multipart/form-data: ",
            b'--x\r\nContent-Disposition: form-data; name="size"\r\n\r\n32\r\n--x--\r\n',
            "multipart/form-data; boundary=x; charset=undefined",
        ),
        (422, "\\ud800: a data: URL is accepted", b'{"pictures": {"\\ud800": "file:///x"}}', "application/json"),
    ],
)
def test_bodies_that_are_refused(client, status, said, body, kind):
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("task", "field", "options", "count"),
    [
        ("texture", "source", {"preset": "gatys", "scales": "3"}, 6000),
        ("texture", "source", {"iterations": "1000", "scales": "8"}, 8000),
        ("reconstruct", "image", {"starts": "21"}, 4200),
        ("reconstruct", "image", {"preset": "mahendran", "starts": "11"}, 4400),
        (
            "reconstruct",
            "image",
            {"grid": "true", "iterations": "1001", "content_layers": "a,b", "style_layers": "c,d"},
            4004,
        ),
        ("maximize", "", {"layer": "conv1_1", "unit": "0-15"}, 4096),
        ("maximize", "", {"layer": "conv1_1", "unit": "1", "diversity": "5", "prior": "yosinski-4"}, 5000),
        ("dream", "image", {"iterations": "1001"}, 4004),
        ("occlusion", "image", {"stride": "2"}, 84 * 112),
    ],
)
def test_the_whole_of_a_job_s_work_is_counted(client, task, field, options, count):
    files = [(field, ("a", CONTENT))] if field else [("task", (None, task))]
    data = {**({"task": task} if field else {}), "network": "narrow", **options}
    answer = client.post("/v1/jobs", files=files, data=data)
    assert answer.status_code == 422
    said = f"iterations: {count} over all scales and pictures; this server accepts up to 4000"
    assert answer.json()["error"] == said


@pytest.mark.parametrize(
    ("task", "options", "first", "side"),
    [
        ("stylize", {}, (300, 3000), 512),
        ("stylize", {"preset": "gatys"}, (1000, 1500), 1536),
        ("stylize", {"preset": "keras"}, (800, 400), 400),
        ("texture", {}, (3000, 2000), 512),
        ("texture", {"source_size": 700}, (3000, 2000), 700),
        ("texture", {"size": "640x400"}, (3000, 2000), 640),
        ("reconstruct", {}, (3000, 2000), 227),
        ("dream", {}, (3000, 2000), 512),
        ("dream", {}, (300, 200), 300),
        ("maximize", {"size": 96}, (0, 0), 96),
        ("saliency", {}, (3000, 2000), 224),
    ],
)
def test_the_long_side_that_a_job_would_have(task, options, first, side):
    """Without a size it is the task's own: a photograph of 12 megapixels is no reason to refuse a dream."""
    assert work.side(task, checked(catalogue.offers()[task].model, options), first) == side


def test_a_job_that_fails_says_why(client):
    job = ended(client, asked(client, content_layers="conv9_9"))
    assert job["state"] == "failed"
    assert "conv9_9" in job["error"]
    answer = client.get(f"/v1/jobs/{job['id']}/picture")
    assert answer.status_code == 409
    assert "conv9_9" in answer.json()["error"]


def test_the_list_goes_on_where_it_ended(client):
    made = [ended(client, asked(client))["id"] for _ in range(3)]
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    second = client.get("/v1/jobs", params={"limit": 2, "before": first["next"]}).json()
    assert [job["id"] for job in first["jobs"]] == made[:0:-1]
    assert second["jobs"][0]["id"] == made[0]
    assert {job["state"] for job in client.get("/v1/jobs", params={"state": "failed"}).json()["jobs"]} <= {"failed"}
    assert client.get("/v1/jobs", params={"limit": 0}).status_code == 422


def test_networks_tasks_health_and_metrics(client):
    networks = {network["name"]: network for network in client.get("/v1/networks").json()["networks"]}
    assert networks["seednet"]["default"]
    assert networks["seednet"]["style_weight"] > 0
    assert networks["narrow"]["available"]
    tasks = {task["name"]: task for task in client.get("/v1/tasks").json()["tasks"]}
    assert next(iter(tasks)) == "stylize"
    assert tasks["stylize"]["pictures"][:2] == [
        {"name": "content", "required": True, "several": False}, {"name": "style", "required": True, "several": True}
    ]  # fmt: skip
    assert client.get("/healthz").json()["status"] == "ok"
    ended(client, asked(client))
    text = client.get("/metrics").text
    for name in (
        "jobs_queued 0.0",
        'jobs_ended_total{state="done",task="stylize"}',
        "job_seconds_count",
        "wait_seconds",
    ):
        assert f"stylogram_{name}" in text
    until(lambda: "stylogram_jobs_running 0.0" in client.get("/metrics").text)


def test_no_option_of_any_task_takes_a_path():
    """What a client says is text, and no text of a client is a file's name."""
    for offer in catalogue.offers().values():
        for name, field in offer.options.items():
            assert name in ("network", "init") or not catalogue.holds_path(field.annotation), name
        assert set(offer.options) & {"film", "pairs", "classes", "direction", "threads", "guide"} == set()
    assert {"deconvnet", "compare"}.isdisjoint(catalogue.offers())


def test_openapi_s_examples_are_accepted(client):
    body = client.get("/openapi.json").json()["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    for example in body["application/json"]["examples"].values():
        answer = client.post(
            "/v1/jobs", content=json.dumps(example["value"]), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 202, answer.text
        client.delete(f"/v1/jobs/{answer.json()['id']}")
