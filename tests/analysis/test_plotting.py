"""Charts: titles that fit, tick formats, and alternative text."""

from __future__ import annotations

import base64
import struct
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from duckbook.analysis import plotting
from duckbook.analysis.alt_text import describe
from matplotlib.colors import to_rgb, to_rgba

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


def test_bars_are_described_from_the_top_with_names_and_labels():
    axes = plotting.chart("Books bring 60% of revenue", x="revenue, USD")
    axes.barh(["Shoes", "Books"], [4, 6])
    plotting.label_bars(axes, ["40%", "60%"])
    expected = "Bar chart: Books bring 60% of revenue. Across: revenue, USD. Books 60%; Shoes 40%."
    assert describe(axes.figure) == expected
    axes.invert_yaxis()
    assert describe(axes.figure).endswith("Shoes 40%; Books 60%.")


def test_grouped_bars_are_described_per_series():
    axes = plotting.chart("Late orders come back", y="per cent")
    for offset, name, heights in ((-0.2, "late", [48, 49]), (0.2, "in time", [26, 16])):
        axes.bar(np.arange(2) + offset, heights, width=0.4, label=name)
        plotting.label_bars(axes, [str(height) for height in heights])
    axes.set_xticks(range(2), ["orders", "money"])
    assert "late: orders 48; money 49. in time: orders 26; money 16." in describe(axes.figure)


def test_values_are_described_with_the_names_of_their_rows():
    axes = plotting.chart("Most are orders")
    axes.scatter([1, 1], [0, 1])
    axes.set_yticks([1, 0], ["orders", "reviews"])
    axes.text(2, 0, "7")
    axes.text(2, 1, "900")
    assert describe(axes.figure) == "Chart of points: Most are orders. reviews 7; orders 900."


def test_lines_are_named_by_the_labels_at_their_ends():
    axes = plotting.chart("It grows", x="month", y="USD")
    for name, values in (("sold", [1, 2, 3]), ("mean of\n12 months", [2, 2, 2])):
        axes.plot(values)
        plotting.label_line(axes, name)
    expected = "Line chart: It grows. Across: month. Upwards: USD. Series: sold, mean of 12 months."
    assert describe(axes.figure) == expected


def test_too_many_values_are_left_to_the_table():
    axes = plotting.chart("A heat map")
    axes.imshow(np.eye(10))
    for n in range(100):
        axes.text(n % 10, n // 10, str(n))
    assert describe(axes.figure) == "Heat map: A heat map."


def test_charts_side_by_side_are_described_under_one_title():
    left, right = plotting.chart("Two things", columns=2)
    left.plot([1, 2, 3])
    left.set_ylabel("orders")
    right.bar(["a", "b"], [1, 2])
    assert describe(left.figure) == "Line chart and bar chart: Two things. Upwards: orders."


def test_a_long_title_is_wrapped_to_the_width_of_its_chart():
    axes = plotting.chart("A finding with so many words that no chart of this size could show it on one line. " * 2)
    axes.plot([1, 2])
    axes.figure.canvas.draw()
    title = axes.figure._suptitle.get_window_extent()
    assert title.x1 <= axes.figure.bbox.x1
    assert title.y0 > axes.get_window_extent().y1


@pytest.mark.parametrize("inches", [5, 6, 8, 10])
def test_no_title_is_cut_off_at_the_edge_of_its_chart(inches):
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


def luminance(colour) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other) -> float:
    """Contrast of two colours, as defined in WCAG 2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", ["white", "#111111"])
def test_charts_are_readable_on_light_and_dark_pages(page):
    """The maximum for one colour on both is 4.34:1, the square root of the contrast of the two pages."""
    assert all(contrast(colour, page) >= 2.99 for colour in (*plotting.PALETTE, plotting.EDGE))
    assert all(contrast(colour, page) >= 4.3 for colour in (plotting.INK, plotting.BLUE, plotting.RED, plotting.GREY))
    axes = plotting.chart("A finding", x="month", y="orders")
    axes.plot([1, 2])
    plotting.label_line(axes, "sold")
    texts = [text for text in axes.figure.findobj(matplotlib.text.Text) if text.get_text()]
    assert min(contrast(text.get_color(), page) for text in texts) >= 4.3
    assert all(to_rgba(face)[3] == 0 for face in (axes.get_facecolor(), axes.figure.get_facecolor()))


def test_text_is_readable_on_every_colour_of_a_heat_map():
    assert min(contrast(plotting.ink_on(colour), colour) for colour in plotting.heat()(np.linspace(0, 1, 100))) >= 4.3


@pytest.mark.parametrize(
    ("value", "shown"),
    [(950, "$950"), (-950, "−$950"), (12_500, "$12.5k"), (-1_200_000, "−$1.2M"), (999_960, "$1M"), (999.6, "$1k"),
     (0, "$0"), (0.4, "$0.40"), (4, "$4"), (9.996, "$10"), (2_000_000_000, "$2B"), (999.4, "$999")],
)  # fmt: skip
def test_amounts_are_formatted_with_sign_and_unit(value, shown):
    assert plotting.dollars(value) == shown


@pytest.fixture
def shown(monkeypatch):
    """Show the newest chart as a kernel does, and return the figure with the displayed data and metadata."""
    from IPython.core.interactiveshell import InteractiveShell
    from matplotlib_inline.backend_inline import configure_inline_support

    displayed = []
    shell = InteractiveShell.instance()
    configure_inline_support(shell, "module://matplotlib_inline.backend_inline")
    monkeypatch.setattr("IPython.display.display", lambda data, **kinds: displayed.append((data, kinds["metadata"])))

    def show():
        figure = matplotlib.pyplot.gcf()
        plotting.show()
        figure.draw_without_rendering()
        return figure, *displayed.pop()

    yield show
    InteractiveShell.clear_instance()


def test_charts_have_double_resolution(shown):
    plotting.chart("A finding", size=(6, 3)).plot([1, 2])
    _, data, metadata = shown()
    assert struct.unpack(">II", base64.b64decode(data["image/png"])[16:24]) == (1200, 600)
    assert metadata["image/png"] == {"width": 600, "height": 300, "alt": data["text/plain"]}


@pytest.mark.parametrize(("most", "ticks"), [(5_000, {"1", "10", "100", "1,000"}), (8, {"1", "2", "5"})])
def test_ticks_of_a_logarithmic_axis_are_plain_numbers(shown, most, ticks):
    axes = plotting.chart("Few sell much")
    axes.loglog([1, most], [1, most])
    shown()
    assert ticks <= {tick.get_text() for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_ticklabels(which="both")}
    assert not [text for text in axes.figure.findobj(matplotlib.text.Text) if "$" in text.get_text()]


def test_bars_of_several_series_differ_by_more_than_their_colour(shown):
    axes = plotting.chart("Late orders come back")
    for name, heights in (("late", [4, 5]), ("in time", [2, 1])):
        axes.bar([0, 1], heights, label=name)
    legend = axes.legend()
    shown()
    patterns = [container[0].get_hatch() for container in axes.containers]
    assert len(set(patterns)) == 2
    assert [handle.get_hatch() for handle in legend.legend_handles] == patterns


def test_titles_side_by_side_do_not_overlap(shown):
    for axes in plotting.chart("Two things", columns=3, size=(9, 3)):
        axes.plot([1, 2])
        axes.set_title("A title of one chart of several that is much too long for the width of it")
    figure, *_ = shown()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_ticks_keep_their_sign_and_large_numbers_have_no_factor(shown):
    axes = plotting.chart("It falls", y="USD")
    axes.plot([0, 1], [-4e6, 5e6])
    shown()
    assert axes.yaxis.get_offset_text().get_text() == ""
    plotting.percent(axes.xaxis)
    assert [axes.xaxis.get_major_formatter()(value, 0) for value in (0.5, -0.005, 0.1234)] == ["50%", "−0.5%", "12.3%"]


@pytest.mark.parametrize(
    ("draw", "is_shown"),
    [
        (lambda axes: None, False),
        (lambda axes: axes.barh([], []), False),
        (lambda axes: axes.bar(["a", "b"], [0, 0.0]), False),
        (lambda axes: axes.bar(["a", "b"], [np.nan, np.nan]), False),
        (lambda axes: axes.errorbar([], [], yerr=[[], []], fmt="o"), False),
        (lambda axes: axes.plot([1, 2], [np.nan, np.nan]), False),
        (lambda axes: (axes.axhline(1), axes.axvline(0)), False),
        (lambda axes: axes.scatter([], []), False),
        (lambda axes: axes.bar(["a", "b"], [0, 1]), True),
        (lambda axes: axes.errorbar([1], [2], yerr=[[1], [1]], fmt="o"), True),
        (lambda axes: axes.plot([1], [2]), True),
        (lambda axes: axes.scatter([1], [1]), True),
        (lambda axes: axes.fill_between([1, 2], [1, 2], [2, 3]), True),
        (lambda axes: axes.imshow([[0]]), True),
    ],
)
def test_a_chart_without_data_shows_only_its_title(shown, monkeypatch, draw, is_shown):
    findings = []
    monkeypatch.setattr("duckbook.analysis.exploration.show_finding", findings.append)
    axes = plotting.chart(
        "Nothing is known of it, which takes a title that is so long that it breaks into two lines of text"
    )
    draw(axes)
    if is_shown:
        assert shown()[1]
    else:
        plotting.show()
        assert matplotlib.pyplot.get_fignums() == []
    expected = ["Nothing is known of it, which takes a title that is so long that it breaks into two lines of text"]
    assert findings == ([] if is_shown else expected)
