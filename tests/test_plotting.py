"""Charts: titles that fit, ticks that count, and words for whoever does not see them."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from duckbook import plotting
from duckbook.alternative import describe

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def test_bars_are_read_out_with_their_names_and_labels_from_the_top():
    axes = plotting.chart("Books bring 60% of revenue", x="revenue, USD")
    axes.barh(["Shoes", "Books"], [4, 6])
    plotting.label_bars(axes, ["40%", "60%"])
    said = "Bar chart: Books bring 60% of revenue. Across: revenue, USD. Books 60%; Shoes 40%."
    assert describe(axes.figure) == said
    axes.invert_yaxis()
    assert describe(axes.figure).endswith("Shoes 40%; Books 60%.")


def test_groups_of_bars_are_read_out_by_their_series():
    axes = plotting.chart("Late orders come back", y="per cent")
    for offset, name, heights in ((-0.2, "late", [48, 49]), (0.2, "in time", [26, 16])):
        axes.bar(np.arange(2) + offset, heights, width=0.4, label=name)
        plotting.label_bars(axes, [str(height) for height in heights])
    axes.set_xticks(range(2), ["orders", "money"])
    assert "late: orders 48; money 49. in time: orders 26; money 16." in describe(axes.figure)


def test_figures_are_read_out_with_the_names_of_the_rows_that_they_stand_in():
    axes = plotting.chart("Most are orders")
    axes.scatter([1, 1], [0, 1])
    axes.set_yticks([1, 0], ["orders", "reviews"])
    axes.text(2, 0, "7")
    axes.text(2, 1, "900")
    assert describe(axes.figure) == "Chart of points: Most are orders. reviews 7; orders 900."


def test_lines_are_named_by_what_stands_at_their_ends():
    axes = plotting.chart("It grows", x="month", y="USD")
    for name, values in (("sold", [1, 2, 3]), ("mean of\n12 months", [2, 2, 2])):
        axes.plot(values)
        plotting.label_line(axes, name)
    said = "Line chart: It grows. Across: month. Upwards: USD. Series: sold, mean of 12 months."
    assert describe(axes.figure) == said


def test_a_hundred_figures_are_left_to_the_table():
    axes = plotting.chart("A heat map")
    axes.imshow(np.eye(10))
    for n in range(100):
        axes.text(n % 10, n // 10, str(n))
    assert describe(axes.figure) == "Heat map: A heat map."


def test_charts_side_by_side_are_told_under_one_title():
    left, right = plotting.chart("Two things", columns=2)
    left.plot([1, 2, 3])
    left.set_ylabel("orders")
    right.bar(["a", "b"], [1, 2])
    assert describe(left.figure) == "Line chart and bar chart: Two things. Upwards: orders."


def test_a_long_finding_takes_two_lines_and_no_more_room_than_its_picture():
    axes = plotting.chart("A finding that is told at such a length that no picture of this size could hold it. " * 2)
    axes.plot([1, 2])
    axes.figure.canvas.draw()
    title = axes.figure._suptitle.get_window_extent()
    assert title.x1 <= axes.figure.bbox.x1
    assert title.y0 > axes.get_window_extent().y1


@pytest.mark.parametrize("inches", [5, 6, 8, 10])
def test_no_finding_is_cut_off_at_the_edge_of_its_picture(inches):
    wide = "Off by 11% a week on average; seasonal naive by 32%, with growth by 12%; " * 4
    for length in range(40, len(wide), 11):
        axes = plotting.chart(wide[:length], size=(inches, 3.2))
        axes.figure.draw_without_rendering()
        shown = axes.figure.get_tightbbox(axes.figure.canvas.get_renderer())
        assert shown.x0 >= 0 and shown.x1 <= inches, wide[:length]
        matplotlib.pyplot.close(axes.figure)


def test_counts_have_no_ticks_between_whole_numbers():
    axes = plotting.chart("Few orders")
    axes.bar([1, 2, 3], [1, 2, 3])
    plotting.counts(axes.yaxis)
    assert all(float(tick).is_integer() for tick in axes.get_yticks())
