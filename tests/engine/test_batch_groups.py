"""What a driver hands to its workers: jobs of one shape and kind together, and as many workers as there is room for."""

import numpy as np
import pytest
from stylogram import pictures
from stylogram.batching import rows
from stylogram.batching.crew import Room, room
from stylogram.batching.groups import Groups
from stylogram.batching.jobs import Reader
from stylogram.batching.shared import Shared


def groups(given, limit=4):
    made = Reader("out", "", {"network": "net.onnx", "size": 48}, lambda options: None).jobs("test", rows.given(given))
    return Groups(made, Shared(0), limit)


def taken(source, workers=1):
    """The outputs of every group until none is left."""
    found = []
    while source.left:
        found.append([job.output for job in source.take(workers)])
    assert source.take(workers) == []
    return found


def row(number, content="c0.png", **more):
    return {"content": content, "style": "s0.png", "output": f"{number}.png", **more}


def test_jobs_of_one_shape_and_kind_go_together(here):
    given = [row(k, "square.png" if k % 3 == 0 else "c1.png", seed=k, style_weight=k) for k in range(9)]
    given += [row(9, iterations=7), row(10, "none.png")]
    assert taken(groups(given)) == [
        ["1.png", "2.png", "4.png", "5.png"],
        ["0.png", "3.png", "6.png"],
        ["7.png", "8.png"],
        ["9.png"],
        ["10.png"],
    ]


def test_a_turned_picture_goes_with_those_that_look_like_it(here):
    upright = pictures.read("c0.png").rgb
    pictures.write("tall.jpg", np.ascontiguousarray(upright.swapaxes(0, 1)))
    data = (here / "tall.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (here / "turned.jpg").write_bytes(data[:2] + turned + data[2:])
    given = [row(0), row(1, "tall.jpg"), row(2, "turned.jpg")]
    assert sorted(taken(groups(given))) == [["0.png", "2.png"], ["1.png"]]


def test_the_last_groups_are_smaller_so_that_workers_end_together(here):
    found = taken(groups([row(k, seed=k) for k in range(21)], limit=8), workers=3)
    assert [len(group) for group in found] == [7, 5, 3, 2, 2, 1, 1]
    assert [name for group in found for name in group] == [f"{k}.png" for k in range(21)]


def test_a_job_that_lost_its_worker_goes_alone_and_first(here):
    source = groups([row(k, seed=k) for k in range(6)])
    first = source.take(1)
    for job in reversed(first[:2]):
        source.again(job)
    assert source.left == 4
    assert taken(source) == [["0.png"], ["1.png"], ["4.png", "5.png"]]


def node(cpus, gpus=0, alive=True):
    return {"Alive": alive, "Resources": {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "threads", "gpu", "wanted"),
    [
        ([node(4), node(4)], 0, False, Room(4, 0, 2, 1)),  # a worker a node
        ([node(4), node(8), node(64)], 0, False, Room(4, 0, 19, 16)),  # the smallest node says how large a share is
        ([node(64)], 0, False, Room(16, 0, 4, 4)),  # more pictures than 16 do not go together
        ([node(2), node(8)], 4, False, Room(4, 0, 2, 2)),  # --threads 4: the small node has none
        ([node(2), node(3)], 8, False, Room(2, 0, 2, 1)),  # more than any node has
        ([node(4), node(4, alive=False)], 0, False, Room(4, 0, 1, 1)),
        ([node(0), node(4)], 0, False, Room(4, 0, 1, 1)),  # a head that takes no work
        ([node(16, 4), node(32, 4), node(64)], 0, True, Room(4, 1, 8, 4)),  # a worker a GPU
        ([node(2, 8)], 0, True, Room(1, 1, 2, 2)),  # fewer processors than GPUs
        ([node(8)], 0, True, Room(1, 1, 0, 0)),
        ([], 0, False, Room(1, 0, 0, 0)),
    ],
)
def test_room(nodes, threads, gpu, wanted):
    assert room(nodes, threads, gpu) == wanted
