"""What is remembered: made once, by whoever comes first, and let go when there is no room."""

import threading

import pytest
from stylogram.batching.memo import Memo


def test_a_value_is_made_once():
    memo, made = Memo(10), []
    assert [memo.get("a", lambda: made.append(1) or "value") for _ in range(3)] == ["value"] * 3
    assert made == [1]


def test_what_was_asked_for_longest_ago_goes_first():
    memo, made = Memo(10, len), []

    def get(word):
        return memo.get(word, lambda: made.append(word) or word)

    for word in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"):
        assert get(word) == word
    assert made == ["aaaa", "bbbb", "cccc", "bbbb"]
    assert get("too large to fit") == "too large to fit"  # the newest stays whatever it weighs
    assert get("too large to fit") == "too large to fit"
    assert made[4:] == ["too large to fit"]


def test_room_is_made_before_a_value_of_known_weight():
    memo, there = Memo(10), []

    class Value:
        def __del__(self):
            there.remove(self.name)

        def __init__(self, name):
            self.name = name
            there.append(name)

    memo.get(1, lambda: Value("first"), 6)
    memo.get(2, lambda: Value("second") if there == [] else pytest.fail("the first is still there"), 6)
    assert there == ["second"]
    memo.clear()
    assert there == []


def test_threads_wait_for_the_one_that_makes_it():
    memo, made, ready = Memo(10), [], threading.Event()

    def slow():
        made.append(1)
        assert ready.wait(30)
        return "value"

    got = []
    threads = [threading.Thread(target=lambda: got.append(memo.get("a", slow))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert memo.get("b", lambda: "other") == "other"  # is not held up
    ready.set()
    for thread in threads:
        thread.join()
    assert (got, made) == (["value"] * 4, [1])


def test_what_could_not_be_made_is_tried_again():
    memo = Memo(10)
    with pytest.raises(ZeroDivisionError):
        memo.get("a", lambda: 1 / 0)
    assert memo.get("a", lambda: 5) == 5
