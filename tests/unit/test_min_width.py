"""Smallest widths: the search, what it came to, and fits of censored values."""

import itertools
import math

import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

from mfsim.datasets import Cifar10
from mfsim.studies import MinWidth, run_study
from mfsim.studies.min_width.charts import charts
from mfsim.studies.min_width.measured import Widths
from mfsim.studies.min_width.published import published_widths
from mfsim.studies.min_width.search import search_width
from mfsim.studies.min_width.verdicts import verdicts
from mfsim.studies.statistics import TooFew, log_log_slope
from mfsim.studies.statistics.censored import censored_exponent, censored_line

SIZES = (100, 200, 400, 1000, 2000)
PAIRS = "cat/dog", "cat/ship"


def run_search(passes, first, cap):
    """The search to its end, and the widths in the order in which they were tried."""
    passed = {}
    while (width := search_width(passed, first=first, cap=cap).wanted) is not None:
        assert width not in passed
        assert 1 <= width <= cap
        passed[width] = passes(width)
    return search_width(passed, first=first, cap=cap), list(passed)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 200))
def test_a_search_finds_the_least_width_that_passes(least, first, cap):
    first = min(first, cap)
    found, tried = run_search(lambda width: width >= least, first, cap)
    if least > cap:
        assert found.is_censored
        assert (found.low, found.high) == (cap, None)
    else:
        assert found.is_bracketed
        assert (found.low, found.high) == (least - 1, least)
    # Doubling or halving from 1 to 200 and bisecting back: at most 8 each, and one.
    assert len(tried) <= 17


def test_a_search_tries_these_widths():
    assert run_search(lambda m: m >= 13, 8, 64)[1] == [8, 16, 12, 14, 13]
    assert run_search(lambda m: m >= 5, 8, 64)[1] == [8, 4, 6, 5]
    assert run_search(lambda m: m >= 1, 8, 64)[1] == [8, 4, 2, 1]
    assert run_search(lambda m: False, 8, 20)[1] == [8, 16, 20]


@given(st.lists(st.booleans(), min_size=40, max_size=40))
def test_a_search_ends_at_a_failure_followed_by_a_pass(outcomes):
    found, _ = run_search(lambda m: outcomes[m - 1], 8, 40)
    if found.is_censored:
        assert not outcomes[-1]
    else:
        assert found.high == found.low + 1
        assert outcomes[found.high - 1]
        assert found.low == 0 or not outcomes[found.low - 1]


def test_the_published_widths_are_those_of_the_pair():
    dog, ship = (published_widths("cifar10", pair, SIZES) for pair in PAIRS)
    assert dog.tolist() == [6.2, 9.2, 12.1, 14.6, 18.0]
    assert ship.tolist() == [5.9, 7.1, 10.1, 13.3, 14.3]
    assert math.isnan(published_widths("cifar10", "cat/dog", (300,))[0])
    assert math.isnan(published_widths("digits", "cat/dog", (100,))[0])


def test_a_line_through_known_values_is_least_squares():
    rng = np.random.default_rng(0)
    u = rng.normal(size=20)
    y = 2 + 3 * u + rng.normal(size=20)
    line = censored_line(u, y, np.zeros(20, bool))
    slope, intercept = np.polyfit(u, y, 1)
    rest = y - intercept - slope * u
    np.testing.assert_allclose(line[:2], (intercept, slope), rtol=1e-10)
    # AIC = 2k + n (log(2 pi R/n) + 1) with k = 3: intercept, slope and variance.
    aic = 6 + 20 * (np.log(2 * np.pi * np.mean(rest**2)) + 1)
    np.testing.assert_allclose(line.aic, aic, rtol=1e-10)


def test_a_line_is_found_where_values_were_cut_off():
    rng = np.random.default_rng(1)
    u = np.repeat(np.linspace(0, 2, 10), 200)
    y = 1 + 2 * u + rng.normal(scale=0.5, size=u.size)
    is_censored = y > 4
    line = censored_line(u, np.minimum(y, 4.0), is_censored)
    # The slope's standard error over 2000 values is 0.5/sqrt(2000 * 0.41) = 0.017, some
    # more as a quarter is cut off; taking cut values as known would give about 1.6.
    np.testing.assert_allclose(line.slope, 2.0, atol=0.08)
    np.testing.assert_allclose(line.deviation, 0.5, atol=0.04)
    assert censored_line(u, np.minimum(y, 4.0), np.zeros_like(is_censored)).slope < 1.8


def test_the_likelihood_of_a_censored_value_is_a_normal_tail():
    u, y = np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.9, 2.1, 2.9, 3.0])
    line = censored_line(u, y, np.array([0, 0, 0, 0, 1], bool))
    z = (y - line.intercept - line.slope * u) / line.deviation
    known = -(z[:4] ** 2) / 2 - np.log(line.deviation * math.sqrt(2 * math.pi))
    tail = math.log(math.erfc(z[4] / math.sqrt(2)) / 2)
    np.testing.assert_allclose(line.aic, 6 - 2 * (known.sum() + tail), rtol=1e-10)


def test_an_exponent_of_known_values_is_the_usual_one():
    x, none = np.array([1.0, 2.0, 4.0, 8.0]), np.zeros((4, 3), bool)
    y = x[:, None] ** 0.5 * np.array([1.0, 1.1, 1.3])
    assert censored_exponent(x, y, none) == log_log_slope(x, y)


def test_an_exponent_with_cut_off_values_is_above_that_of_the_cap():
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    rng = np.random.default_rng(2)
    y = x[:, None] ** 0.7 * np.exp(rng.normal(scale=0.05, size=(5, 6)))
    is_censored = y > 4.5
    found = censored_exponent(x, np.minimum(y, 4.5), is_censored)
    assert found.low < 0.7 < found.high
    assert abs(found.value - 0.7) < 0.05
    assert "6 of 30 values are known from below alone" in found.warning
    with pytest.raises(TooFew, match="seeds must be 3"):
        censored_exponent(x, np.minimum(y, 4.5)[:, :2], is_censored[:, :2])
    with pytest.raises(TooFew, match="known values at 3 places"):
        censored_exponent(x, y, y > 1.2)


def widths(values, is_censored=None, published=None):
    values = np.asarray(values, float)
    if is_censored is None:
        is_censored = np.zeros(values.shape, bool)
    if published is None:
        published = np.full(len(SIZES), np.nan)
    return Widths(PAIRS[0], SIZES, values, is_censored, published)


SCATTER = np.exp(0.01 * np.array([-1.0, 0.3, 0.0, 0.9, -0.2]))
N = np.array(SIZES, float)[:, None]


@pytest.mark.parametrize(
    ("values", "power", "holds"),
    [(0.1 * np.log(N) ** 2.5, 2.5, True), (2 * N**0.4, 0.4, False)],
)
def test_the_law_that_made_the_widths_has_the_weight(values, power, holds):
    found = widths(values * SCATTER)
    growths = found.growths()
    best = max(growths, key=lambda growth: growth.weight)
    # A common factor of a seed leaves the power as it is.
    np.testing.assert_allclose(best.power.value, power, rtol=1e-9)
    assert best.weight > 0.99
    np.testing.assert_allclose(sum(g.weight for g in growths), 1.0)
    assert verdicts([found], "s")[-1].holds is holds


def test_weights_that_do_not_decide_are_no_verdict():
    rng = np.random.default_rng(3)
    noisy = 2 * N**0.3 * np.exp(rng.normal(scale=0.3, size=(5, 5)))
    verdict = verdicts([widths(noisy)], "s")[-1]
    assert verdict.holds is None
    assert "do not decide" in verdict.note


@pytest.mark.parametrize(("factor", "holds"), [(0.8, True), (1.25, False), (1.0, None)])
def test_widths_are_held_against_the_published_ones(factor, holds):
    published = published_widths("cifar10", "cat/dog", SIZES)
    found = widths(factor * published[:, None] * SCATTER, published=published)
    verdict, largest, growth, *_ = verdicts([found], "s")
    expected = factor * math.exp(np.log(SCATTER).mean())
    np.testing.assert_allclose(verdict.measured, expected, rtol=1e-9)
    assert verdict.holds is holds
    assert f"{expected:.2f} at n = 100" in verdict.note
    # Ratios are alike at all n: the largest is any of them.
    np.testing.assert_allclose(largest.measured, factor * SCATTER.mean(), rtol=1e-9)
    assert largest.holds is holds
    # The same points times a constant grow alike.
    assert growth.holds is True
    assert growth.measured == pytest.approx(growth_of(published), rel=1e-9)


def growth_of(published):
    return np.polyfit(np.log(SIZES), np.log(published), 1)[0]


def test_a_search_above_the_cap_bounds_from_below():
    published = published_widths("cifar10", "cat/dog", SIZES)
    values = published[:, None] * np.ones(5) * SCATTER
    is_censored = np.zeros((5, 5), bool)
    values[-1, 0], is_censored[-1, 0] = 19.0, True
    found = widths(values, is_censored, published)
    mean = found.means()[-1]
    assert mean.high == math.inf
    assert mean.warning == "a lower bound: 1 of 5 searches reached the cap"
    assert found.means()[0].high < math.inf
    verdict = verdicts([found], "s")[0]
    assert verdict.holds is None
    assert "lower bound" in verdict.note
    assert all("known from below" in g.power.warning for g in found.growths())


def test_the_chart_has_measured_laws_and_published_widths():
    published = published_widths("cifar10", "cat/dog", SIZES)
    found = widths(2 * N**0.4 * SCATTER, published=published)
    ((panel,),) = [chart.panels for chart in charts([found], "s")]
    labels = [curve.label for curve in panel.curves]
    assert labels[0] == "measured"
    assert "c·n^0.40" in labels
    assert labels[-1] == "published"
    # The law goes through what it was fitted to: 2 n^0.4 at both ends.
    law = panel.curves[labels.index("c·n^0.40")]
    scale = math.exp(np.log(SCATTER).mean())
    ends = 2 * 100**0.4 * scale, 2 * 2000**0.4 * scale
    np.testing.assert_allclose((law.y[0], law.y[-1]), ends, rtol=1e-9)


def runs(study, least):
    """Synthetic runs, complete: a width passes where it is `least` or more.

    Training error falls to 0 at save 2 of a run that passes, and never else.
    """
    axes = len(study.pairs), len(study.sizes), study.seeds, study.cap
    status = np.full(axes, "missing", dtype="<U9")
    error, step = np.full((*axes, 4), np.nan), np.full((*axes, 4), np.nan)

    def run(sweep):
        for point in sweep.points:
            index = tuple(point.index.values())
            ends = point.values["width"] >= least(**point.values)
            status[index] = "completed"
            rows = 3 if ends else 4
            error[index][:rows] = [0.5, 0.1, 0.0 if ends else 0.1, 0.2][:rows]
            step[index][:rows] = np.arange(rows) * 10.0

    dims = "pair", "size", "seed", "width"
    found = lambda: xarray.Dataset(  # noqa: E731
        {"train_error": ((*dims, "save"), error), "status": (dims, status)},
        coords={
            "step": ((*dims, "save"), step),
            "pair": list(study.pairs),
            "size": list(study.sizes),
            "seed": range(study.seeds),
        },
    )
    return run, found


def test_the_study_searches_every_place_and_ends():
    study = MinWidth(sizes=(100, 200, 400), seeds=3, cap=32)

    def least(pair, size, seed, width):
        return {100: 5, 200: 9, 400: 40 if seed else 17}[size] + (pair == PAIRS[1])

    run, found = runs(study, least)
    (sweep,) = study.experiments()
    while sweep.points:
        run(sweep)
        now = {"widths": found()}
        (sweep,) = study.refine(now)
        # It goes by what was run alone.
        again = study.refine(now)[0].points
        assert [p.values for p in again] == [p.values for p in sweep.points]
    findings = study.analyse(now)
    rows = {(row[0], row[1]): row for row in findings.tables[0].rows}
    assert rows["cat/dog", 100][2] == 5.0
    assert rows["cat/ship", 200][2] == 10.0
    # Seeds 1 and 2 reach the cap of 32: a mean of at least (17 + 32 + 32)/3.
    assert rows["cat/dog", 400][2] == 27.0
    assert rows["cat/dog", 400][4] is None
    assert rows["cat/dog", 400][5:7] == (3, 2)
    # 20 steps of 100/20 = 5 an epoch are 4 epochs; published at n = 100: 6.2.
    assert rows["cat/dog", 100][-1] == 4.0
    np.testing.assert_allclose(rows["cat/dog", 100][8], 5 / 6.2)
    searches = {row[:3]: row[3:5] for row in findings.tables[2].rows}
    assert searches["cat/dog", 100, 0] == (5, "4− 5+ 6+ 8+")
    assert searches["cat/dog", 400, 1] == (None, "8− 16− 32−")


def test_a_run_that_diverged_has_not_passed():
    study = MinWidth(sizes=(100,), seeds=1, pairs=("cat/dog",), cap=16)
    run, found = runs(study, lambda **_: 9)
    run(study.experiments()[0])
    diverged = found()
    diverged.status[...] = np.where(
        diverged.status == "completed", "diverged", "missing"
    )
    diverged["train_error"][...] = np.nan
    (sweep,) = study.refine({"widths": diverged})
    assert [p.values["width"] for p in sweep.points] == [16]


def test_experiments_are_those_of_the_fields():
    study = MinWidth(folder="/images", cap=48)
    one = study.experiment("cat/ship", 400, 2, 9)
    network, images = one.flow.network, one.flow.dataset
    assert (network.width, network.active, network.depth) == (16, 9.0, 5)
    assert isinstance(images, Cifar10)
    assert (images.classes, images.num_train) == (("cat", "ship"), 400)
    assert images.prepare.unit_norm
    assert one.schedule.num_steps == 800 * 20
    # Steps of 0.3 m^(-1/2) at a = 1/4.
    assert one.flow_step == pytest.approx(0.3 / 3)
    assert [study.padded(m) for m in (1, 8, 9, 16, 17, 33, 48)] == [
        *(8, 8, 16, 16, 32, 48, 48)
    ]
    # No two searches share a draw of images or a start.
    places = itertools.product(study.sizes, range(study.seeds))
    seeds = {study.experiment("cat/dog", n, s, 8).seed for n, s in places}
    assert len(seeds) == len(study.sizes) * study.seeds


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sizes": (200, 100)}, "^sizes must be positive numbers in rising order"),
        ({"pairs": ("cat",)}, "^pairs must be two classes each"),
        ({"pairs": ()}, "^pairs must be two classes each"),
        ({"dataset": "digits"}, "^pairs must be .* as '3/8', for dataset 'digits'"),
        ({"first": 65}, "^first must be at most cap = 64, got 65"),
        ({"batch_size": 101}, "^batch_size must be at most the least of sizes, 100"),
    ],
)
def test_fields_that_do_not_suit_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        MinWidth(**wrong)


@pytest.mark.slow
def test_a_small_study_on_digits_goes_through(tmp_path):
    study = MinWidth(
        dataset="digits",
        pairs=("0/1",),
        sizes=(32,),
        seeds=2,
        cap=8,
        first=4,
        depth=2,
        batch_size=8,
        epochs=200,
    )
    record = run_study(study, tmp_path)
    assert record is not None
    assert set(record.statuses) == {"completed"}
    # 0 and 1 are far apart: a few neurons of one layer tell them apart.
    searches = record.findings.tables[2].rows
    assert [row[3] is not None and row[3] <= 8 for row in searches] == [True] * 2
    # One size has no growth to judge.
    assert [verdict.holds for verdict in record.findings.verdicts] == [None, None]
    # Nothing is left to be asked for: the same study runs nothing.
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    again = run_study(study, tmp_path)
    assert again is not None
    assert repr(again.findings) == repr(record.findings)
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
