"""Sheets of pictures: each in its place, the words where they belong and readable."""

import numpy as np
import pytest
from stylogram.errors import Error
from stylogram.sheets import SIZE, sheet

WHITE = np.ones(3, "f4")


def squares(count, height=20, width=30):
    """Pictures that are one colour each, none of them a grey."""
    return [np.broadcast_to(np.array([k / count, 0.5, 0.25], "f4"), (height, width, 3)) for k in range(count)]


def ink(part):
    """How many pixels are darker than white."""
    return int((np.asarray(part) < 0.9).all(axis=-1).sum())


def box(sheet, colour):
    """Rows and columns where a colour stands: first and one after the last."""
    rows, columns = np.nonzero((np.abs(sheet - colour) < 1e-6).all(axis=-1))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_every_picture_is_whole_and_in_its_place():
    pictures = squares(5)
    made = sheet(pictures, 3, gap=4)
    assert made.dtype == np.float32
    assert made.shape == (2 * 24 + 4, 3 * 34 + 4, 3)
    for k, picture in enumerate(pictures):
        row, column = divmod(k, 3)
        top, left = 4 + 24 * row, 4 + 34 * column
        assert box(made, picture[0, 0]) == (top, top + 20, left, left + 30)
    np.testing.assert_array_equal(made[30:50, 76:], np.ones((20, 30, 3)))  # the sixth place


def test_sizes_may_differ():
    small, large = squares(2, 8, 10)[1], squares(2, 20, 30)[0]
    made = sheet([small, large], 2, gap=0)
    assert made.shape == (20, 60, 3)
    assert box(made, small[0, 0]) == (6, 14, 10, 20)


def test_words_stand_below_beside_and_above():
    pictures = squares(4, 60, 80)
    plain = sheet(pictures, 2)
    labelled = sheet(pictures, 2, ["conv1_1", "", "conv5_1", "α ≥ 6"])
    line = (labelled.shape[0] - plain.shape[0]) // 2
    assert line > SIZE
    below = labelled[2 + 64 + 2 : 64 + 2 + line]
    assert ink(below[:, :86]) > 40
    assert ink(below[:, 88:]) == 0  # the empty label
    sided = sheet(pictures, 2, row_labels=["first", "second"], column_labels=["a", "b"], title="A title")
    extra = sided.shape[1] - plain.shape[1]
    assert extra > 30
    assert ink(sided[2 * line :, :extra]) > 40
    assert ink(sided[:line]) > 40
    assert ink(sided[line : 2 * line, extra:]) > 10
    *_, left, right = box(sided, pictures[1][0, 0])
    assert (left, right) == (extra + 88, extra + 168)


def test_a_long_label_is_set_smaller_and_then_widens_the_column():
    pictures = squares(2, 40, 40)
    assert sheet(pictures, 2, ["fire9/concat", "b"]).shape[1] > sheet(pictures, 2, ["a", "b"]).shape[1]
    assert sheet(pictures, 2, ["conv1", "b"]).shape[1] == sheet(pictures, 2).shape[1]


def test_letters_beyond_ascii_are_drawn():
    """A font without a letter draws a question mark."""
    picture = squares(1, 30, 60)
    marks = {text: sheet(picture, 1, [text]).tobytes() for text in ("?", "α", "ü", "‖")}
    assert len(set(marks.values())) == 4


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], 2), {}, "at least one picture"),
        (([np.ones((4, 4))], 2), {}, r"picture 1 must be \(H,W,3\), got \(4, 4\)"),
        ((squares(2), 0), {}, "columns of at least 1"),
        ((squares(2), 2, ["a"]), {}, "2 labels are needed, got 1"),
        ((squares(3), 2), {"row_labels": ["a"]}, "2 row labels are needed"),
        ((squares(3), 2), {"column_labels": ["a"]}, "2 column labels are needed"),
    ],
)
def test_bad_arguments(arguments, options, message):
    with pytest.raises(Error, match=message):
        sheet(*arguments, **options)
