"""Charts on paper: what is drawn where, and that nothing covers anything."""

import dataclasses
import io
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from mfsim.figures import chart_figure, chart_files
from mfsim.figures.charts import CYCLE
from mfsim.findings import Chart, Curve, Map, Mark, Panel

ALPHAS = (0.5, 1.0, 2.0, 4.0)
KL = (4.0, 1.0, 0.25, 0.0625)
CURVE = Curve("m = 256", ALPHAS, KL, low=(2.0, 0.5, 0.125, 0.03), high=(8.0, 2, 0.5, 1))
MAP = Map(
    "log m",
    "s",
    x=(1.0, 1.0, 2.0),
    y=(0.0, 0.5, 0.5),
    region=("mean field", "lazy", "lazy"),
    regions=("condensed", "mean field", "lazy"),
)


def panel(*curves, **others):
    return Panel("scale α", "KL [nat]", curves or (CURVE,), **others)


def chart(*panels, **others):
    return Chart("kl", "KL against α; 4 seeds.", panels or (panel(),), **others)


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize(("count", "width"), [(1, 3.4), (2, 7.0), (3, 7.0)])
def test_one_panel_is_a_column_wide_and_more_a_page(count, width):
    figure = chart_figure(chart(*[panel()] * count))
    assert figure.get_figwidth() == width
    assert sum(axes.axison for axes in figure.axes) == count


def test_a_curve_is_drawn_with_the_ends_of_its_intervals():
    (axes,) = chart_figure(chart()).axes
    np.testing.assert_array_equal(
        axes.lines[0].get_xydata(), np.transpose([ALPHAS, KL])
    )
    (bars,) = axes.containers[0].lines[2]
    ends = [segment[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, np.transpose([CURVE.low, CURVE.high]), rtol=1e-12)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() == "scale α"
    assert axes.get_ylabel() == "KL [nat]"


def test_an_interval_that_reaches_zero_goes_to_the_bottom_of_a_logarithmic_axis():
    curve = dataclasses.replace(CURVE, low=(-1.0, 0.0, 0.1, 0.03))
    (axes,) = chart_figure(chart(panel(curve))).axes
    ends = [s[0, 1] for s in axes.containers[0].lines[2][0].get_segments()]
    bottom = axes.get_ylim()[0]
    assert max(ends[:2]) < bottom
    np.testing.assert_allclose(ends[2:], [0.1, 0.03], rtol=1e-12)
    # The least end is 0.03, and the axis goes a margin of a tenth of its decades below.
    assert 0.01 < bottom < 0.03


def test_curves_are_told_apart_without_colour():
    curves = [dataclasses.replace(CURVE, label=f"m = {i}") for i in range(7)]
    (axes,) = chart_figure(chart(panel(*curves))).axes
    lines = [container.lines[0] for container in axes.containers]
    assert len({line.get_marker() for line in lines}) == 7
    assert len({line.get_color() for line in lines}) == 7


def test_looks_say_what_is_measured_and_what_is_predicted():
    looks = ("both", "line", "points", "reference")
    curves = [dataclasses.replace(CURVE, label=look, look=look) for look in looks]
    (axes,) = chart_figure(chart(panel(*curves))).axes
    both, line, points = (container.lines[0] for container in axes.containers)
    assert both.get_marker() == "o"
    assert both.get_linestyle() == "-"
    assert line.get_marker() == ""
    assert points.get_linestyle() == "None"
    reference = next(one for one in axes.lines if one.get_color() == "0.35")
    assert reference.get_linestyle() == "--"


def test_the_legend_is_in_order_and_covers_no_axes():
    theory = Curve("slope −2", ALPHAS, KL, look="reference")
    marks = (Mark(1.5, "α_c = 1.5", 1.2, 1.9),)
    pages = chart(panel(theory, CURVE, marks=marks, title="KL"), panel())
    figure = chart_figure(pages)
    figure.draw_without_rendering()
    left, right = figure.axes
    assert labels(left) == ["slope −2", "m = 256", "α_c = 1.5"]
    assert left.get_legend().get_title().get_text() == "KL"
    for axes in (left, right):
        above = axes.get_legend().get_window_extent()
        # Of rounding, in pixels.
        assert above.y0 >= axes.get_window_extent().y1 - 1
        assert above.x1 <= figure.bbox.x1 + 1
    assert left.get_legend().get_window_extent().x1 <= right.get_window_extent().x0


def test_text_is_no_formula():
    (axes,) = chart_figure(chart(panel(dataclasses.replace(CURVE, label="$x_1$")))).axes
    assert labels(axes) == [r"\$x_1\$"]


def test_a_panel_without_values_says_so():
    empty = Curve("m = 4", ALPHAS, (math.nan,) * 4, (math.nan,) * 4, (math.nan,) * 4)
    (axes,) = chart_figure(chart(panel(empty))).axes
    assert "no values" in [text.get_text() for text in axes.texts]
    assert axes.get_yscale() == "linear"


def test_a_map_has_a_marker_for_each_region():
    (axes,) = chart_figure(Chart("map", "Regions.", map=MAP)).axes
    assert labels(axes) == ["mean field", "lazy"]
    mean_field, lazy = axes.lines
    np.testing.assert_array_equal(mean_field.get_xydata(), [[1.0, 0.0]])
    np.testing.assert_array_equal(lazy.get_xydata(), [[1.0, 0.5], [2.0, 0.5]])
    assert mean_field.get_marker() != lazy.get_marker()


def test_long_labels_stay_within_their_panel():
    long = "kernel drift max|H(p_t) − H(p_0)| (output²/parameter²)"
    wide = dataclasses.replace(panel(), x_label=long, y_label=long)
    figure = chart_figure(chart(wide, wide, wide, wide))
    figure.draw_without_rendering()
    for axes in figure.axes:
        data = axes.get_window_extent()
        # A twentieth of the axes at either end.
        assert axes.yaxis.label.get_window_extent().height < 1.1 * data.height
        assert axes.xaxis.label.get_window_extent().width < 1.1 * data.width


def test_a_picture_keeps_the_colours_of_its_curves():
    curves = [dataclasses.replace(CURVE, label=f"m = {i}") for i in range(7)]
    picture = Image.open(io.BytesIO(chart_files(chart(panel(*curves)))[".png"]))
    found = np.asarray(picture.convert("RGB"), dtype=int).reshape(-1, 3)
    for look in CYCLE:
        wanted = np.array(to_rgb(look["color"])) * 255
        # Of 255, by the palette.
        assert np.abs(found - wanted).max(axis=1).min() < 20


def test_files_are_a_picture_in_print_resolution_and_a_pdf():
    files = chart_files(chart())
    picture = Image.open(io.BytesIO(files[".png"]))
    # 3.4 inches of 200 dots.
    assert picture.width == 680
    assert files[".pdf"].startswith(b"%PDF")
    assert b"/Type3" not in files[".pdf"]
