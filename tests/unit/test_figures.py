"""Figures: what they show of a run and of a sweep, also where something is missing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from typer.testing import CliRunner

from mfsim.cli import app
from mfsim.errors import ConfigError, FormatError, MfsimError
from mfsim.figures import (
    crossing,
    run_figure,
    save_plot,
    sweep_figure,
    time_figure,
    transition_figure,
)
from mfsim.storage import Recorder, Series, open_sweep, open_trajectory

ALPHAS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
CONFIG = """
seed = 3
[flow]
kind = "ParticleFlow"
temperature = 1e-4
[flow.network]
kind = "TwoLayer"
width = 64
alpha = 2.0
input_std = 0.5
output_std = 2.0
[flow.dataset]
kind = "Digits"
[integrator]
kind = "NoisyGD"
[schedule]
unit = "kernel"
spacing = "log"
"""
NAMES = (
    "train_risk",
    "test_risk",
    "train_error",
    "test_error",
    "displacement_relative",
    "kernel_drift_relative",
)


def write(
    path,
    rows,
    *,
    sweep=None,
    status="completed",
    config=CONFIG,
    symbol="s",
    unit="1",
):
    """A file with these rows of values by name, at kernel times 0, 1, 2, 4, ..."""
    names = rows[0] if rows else NAMES
    recorder = Recorder.create(
        path,
        attributes={"config_hash": "abc", "seed": 3},
        config=config,
        series={name: Series(unit, symbol, name) for name in names},
        absent={},
        data={"y_train": np.ones(7)},
        sweep=sweep,
    )
    for step, row in enumerate(rows):
        recorder.append(step, step / 4, float(2**step // 2 * 2), row)
    recorder.finish(status, {}, "exploded at step 3" if status == "diverged" else "")
    return path


def falling(rows=8, **changed):
    return [dict.fromkeys(NAMES, 0.5**k) | changed for k in range(rows)]


def write_sweep(folder, outer=(), factors=(0.9, 1.1), **options):
    """Drift factor 4 / alpha^2, displacement 1 / alpha, by seed and outer value."""
    name, values = outer or ("temperature", [0.0])
    for i, value in enumerate(values):
        for j, alpha in enumerate(ALPHAS):
            for seed, factor in enumerate(factors):
                place = {
                    "dims": [name, "alpha", "seed"],
                    "index": {name: i, "alpha": j, "seed": seed},
                    "values": {name: value, "alpha": alpha, "seed": seed},
                }
                row = dict.fromkeys(NAMES, 0.25) | {
                    "displacement_relative": 1 / alpha,
                    "kernel_drift_relative": factor * (i + 1) * 4 / alpha**2,
                }
                file = folder / f"{i}_{j}_{seed}.h5"
                write(file, [row], sweep=place, **options)
    return folder


RAW, COUPLED, BRACKET = "raw displacement", "coupled displacement", "$W_2$ bracket"
TALAGRAND = r"Talagrand, $\sigma\sqrt{2\,\mathrm{KL}^+}$"


def distances(alpha=2.0, rows=6, factor=1.0, **changed):
    """Rows of bounds: all but the raw displacement fall with alpha, and start at 0."""
    return [
        {
            "displacement": 0.4 * k**0.5,
            "w2_upper_coupling": 0.9 * factor * min(k, 3) / alpha,
            "w2_upper": 0.8 * factor * min(k, 3) / alpha,
            "w2_lower": 0.5 * factor * min(k, 3) / alpha,
            "w2": 0.6 * factor * min(k, 3) / alpha if k % 2 else np.nan,
            "kl_upper": 0.5 * (0.8 * factor * min(k, 3) / alpha) ** 2,
            "kl_lower": 0.2 * (0.8 * factor * min(k, 3) / alpha) ** 2,
            "kl_knn": 0.1 * (-1.0) ** k,
        }
        | changed
        for k in range(rows)
    ]


def write_distances(folder, alphas=(1.0, 8.0, 64.0), factors=(1.0,), **options):
    """A sweep of `distances` over alpha and seed."""
    for i, alpha in enumerate(alphas):
        for seed, factor in enumerate(factors):
            place = {
                "dims": ["alpha", "seed"],
                "index": {"alpha": i, "seed": seed},
                "values": {"alpha": alpha, "seed": seed},
            }
            rows = distances(alpha, factor=factor)
            write(folder / f"{i}_{seed}.h5", rows, sweep=place, **options)
    return folder


def drawn(axes, word):
    """The line, the points or the band of this word in a panel's legend."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    found = handles[word]
    return found if isinstance(found, PolyCollection) else found.lines[0]


def edges(band):
    """Lower and upper edge of a band by abscissa."""
    x, y = band.get_paths()[0].vertices.T
    return {t: (y[x == t].min(), y[x == t].max()) for t in np.unique(x)}


def check_distances(axes, series):
    """A panel of distances shows these series; sigma is the larger of 0.5 and 2."""
    wanted = {
        RAW: series.displacement,
        COUPLED: series.w2_upper_coupling,
        TALAGRAND: 2 * np.sqrt(2 * series.kl_upper),
        "$W_2$, transport": series.w2,
    }
    for word, values in wanted.items():
        line = drawn(axes, word)
        np.testing.assert_array_equal(line.get_xdata(), series.kernel_time)
        np.testing.assert_allclose(line.get_ydata(), values, rtol=1e-12)
    times, bounds = zip(*edges(drawn(axes, BRACKET)).items(), strict=True)
    np.testing.assert_array_equal(times, series.kernel_time)
    np.testing.assert_array_equal(bounds, np.c_[series.w2_lower, series.w2_upper])


def panel(figure, label):
    """The panel of this label."""
    return next(axes for axes in figure.axes if axes.get_ylabel() == label)


def is_at(line, x):
    """Whether a line is upright at x."""
    return np.shape(line.get_xdata()) == (2,) and np.allclose(line.get_xdata(), x)


def texts(figure):
    """All that is written in a figure's title, caption, legends."""
    legends = [axes.get_legend() for axes in figure.axes] + figure.legends
    entries = [t.get_text() for legend in legends if legend for t in legend.get_texts()]
    caption = figure.get_supxlabel().replace("\n", " ")
    return "\n".join([figure.get_suptitle(), caption, *entries])


class TestCrossing:
    @pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
    def test_power_law_is_exact(self, power):
        alpha = np.geomspace(1, 1000, 7)
        found = crossing(alpha, 3 * alpha**-power, 0.1)
        assert found == pytest.approx(30 ** (1 / power), rel=1e-12)

    def test_order_and_bad_values_do_not_matter(self):
        found = crossing([8, 1, 4, 2, 16], [1 / 8, 1, np.nan, 0, 1 / 16], 0.1)
        assert found == pytest.approx(10)

    def test_last_fall_counts(self):
        assert crossing([1, 2, 4, 8], [2, 0.5, 2, 0.5], 1) == pytest.approx(32**0.5)

    @pytest.mark.parametrize("values", [[1, 2, 3], [0.1, 0.5, 2], [np.nan] * 3])
    def test_none(self, values):
        assert crossing([1, 2, 3], values, 0.9 if values[0] == 0.1 else 0.5) is None


class TestRun:
    def test_panels(self, tmp_path):
        figure = run_figure(open_trajectory(write(tmp_path / "a.h5", falling())))
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert labels == ["risk", "error [%]", "relative change"]
        assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2]
        assert [axes.get_yscale() for axes in figure.axes][:2] == ["log", "linear"]
        assert figure.axes[0].get_xscale() == "log"
        assert figure.axes[-1].get_xlabel() == r"kernel time ${\tau}$"
        for part in (
            r"${\alpha}$ = 2",
            r"$10^{-4}$",
            "$m$ = 64",
            "$n$ = 7",
            "seed = 3",
        ):
            assert part in texts(figure)
        assert "Digits · TwoLayer · ParticleFlow · NoisyGD" in texts(figure)

    def test_flow_time_and_linear_saves(self, tmp_path):
        config = CONFIG.replace('"kernel"', '"flow"').replace('"log"', '"linear"')
        run = open_trajectory(write(tmp_path / "a.h5", falling(), config=config))
        axes = run_figure(run).axes[-1]
        assert (axes.get_xlabel(), axes.get_xscale()) == ("flow time $t$", "linear")
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), run.series["time"])

    def test_only_what_was_recorded(self, tmp_path):
        path = write(tmp_path / "a.h5", [{"train_risk": 1.0}, {"train_risk": 0.9}])
        (axes,) = run_figure(open_trajectory(path)).axes
        assert (len(axes.lines), axes.get_yscale()) == (1, "linear")

    def test_unknown_series_alone(self, tmp_path):
        path = write(tmp_path / "a.h5", [{"my_series": 1.0}], symbol="$a_b_c")
        assert save_plot(path).exists()
        (axes,) = run_figure(open_trajectory(path)).axes
        assert axes.get_ylabel() == "my series"

    def test_nothing_recorded(self, tmp_path):
        place = {"dims": ["seed"], "index": {"seed": 0}, "values": {"seed": 0}}
        path = write(tmp_path / "a.h5", [{}], sweep=place)
        assert save_plot(path).exists()
        assert save_plot(tmp_path).exists()

    @pytest.mark.parametrize("rows", [0, 1])
    def test_few_rows(self, tmp_path, rows):
        path = write(tmp_path / "a.h5", falling(rows))
        assert save_plot(path).exists()
        assert ("No rows yet." in texts(run_figure(open_trajectory(path)))) == (
            rows == 0
        )

    def test_diverged_says_so_and_hides_what_is_not_finite(self, tmp_path):
        rows = falling(3) + falling(1, train_risk=np.inf, test_risk=np.nan)
        path = write(tmp_path / "a.h5", rows, status="diverged")
        figure = run_figure(open_trajectory(path))
        assert "Not completed, diverged: exploded at step 3" in texts(figure)
        assert "Not finite, so left out: train risk (1), test risk (1)." in texts(
            figure
        )
        assert np.isnan(figure.axes[0].lines[0].get_ydata()[-1])
        assert save_plot(path).exists()


class TestDistances:
    def test_panels_of_a_run(self, tmp_path):
        rows = [a | b for a, b in zip(falling(6), distances(), strict=True)]
        run = open_trajectory(write(tmp_path / "a.h5", rows))
        figure = run_figure(run)
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert labels == ["risk", "error [%]", "relative change", "distance", "KL"]
        here, series = panel(figure, "distance"), run.series.isel(step=slice(1, None))
        assert here.get_yscale() == "log"
        check_distances(here, series)

    def test_kl_panel(self, tmp_path):
        run = open_trajectory(write(tmp_path / "a.h5", distances()))
        axes = panel(run_figure(run), "KL")
        shown = run.series.isel(step=(run.series.kernel_time > 0).values)
        upper = drawn(axes, "upper bound").get_ydata()
        lower = drawn(axes, "lower bound").get_ydata()
        np.testing.assert_array_equal(upper, shown.kl_upper)
        np.testing.assert_array_equal(lower, shown.kl_lower)
        (band,) = axes.collections
        np.testing.assert_array_equal([*edges(band).values()], np.c_[lower, upper])
        # A negative estimate has no place on a logarithmic axis.
        points = drawn(axes, "kNN estimate")
        assert points.get_linestyle() == "None"
        positive = shown.kl_knn.values > 0
        np.testing.assert_array_equal(np.isfinite(points.get_ydata()), positive)

    def test_start_at_zero_on_a_linear_clock(self, tmp_path):
        config = CONFIG.replace('"log"', '"linear"')
        path = write(tmp_path / "a.h5", distances(), config=config)
        figure = run_figure(open_trajectory(path))
        assert np.isnan(drawn(panel(figure, "distance"), RAW).get_ydata()[0])
        assert "Not finite" not in texts(figure)
        assert save_plot(path).exists()

    @pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
    def test_no_value_has_a_place(self, tmp_path, value):
        rows = [dict.fromkeys(row, value) for row in distances()]
        path = write(tmp_path / "a.h5", rows)
        assert save_plot(path).exists()
        assert panel(run_figure(open_trajectory(path)), "KL").get_yscale() == "linear"

    def test_lower_bound_of_nothing_leaves_the_axis(self, tmp_path):
        run = open_trajectory(write(tmp_path / "a.h5", distances(kl_lower=1e-12)))
        axes = panel(run_figure(run), "KL")
        assert np.isnan(drawn(axes, "lower bound").get_ydata()).all()
        assert all(low == 0 for low, _ in edges(axes.collections[0]).values())
        assert axes.get_ylim()[0] > 1e-4
        assert save_plot(run.path).exists()

    def test_errors_of_a_run_are_bars(self, tmp_path):
        rows = distances(kl_upper=0.5, kl_upper_se=0.1, w2_upper_coupling_se=np.nan)
        figure = run_figure(open_trajectory(write(tmp_path / "a.h5", rows)))
        axes = panel(figure, "distance")
        # d sqrt(2 KL) = d KL/sqrt(2 KL), times sigma = 2.
        (bars,) = axes.containers[2].lines[2]
        low, high = bars.get_segments()[0][:, 1]
        assert (low, high) == pytest.approx((1.8, 2.2))
        assert not axes.containers[1].has_yerr
        assert "Error bars are standard errors." in texts(figure)

    def test_displacement_alone_is_as_before(self, tmp_path):
        rows = [row | {"displacement": 0.1} for row in falling()]
        figure = run_figure(open_trajectory(write(tmp_path / "a.h5", rows)))
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert labels == ["risk", "error [%]", "relative change"]
        assert "rror bars" not in texts(figure)

    def test_infinite_is_told(self, tmp_path):
        rows = distances()[:3] + distances(rows=1, kl_upper=np.inf)
        caption = texts(run_figure(open_trajectory(write(tmp_path / "a.h5", rows))))
        assert "left out: talagrand (1), kl upper (1)." in caption

    def test_without_the_prior_no_talagrand(self, tmp_path):
        config = CONFIG.replace("output_std = 2.0", "")
        path = write(tmp_path / "a.h5", distances(), config=config)
        assert "Talagrand" not in texts(run_figure(open_trajectory(path)))

    def test_against_alpha(self, tmp_path):
        sweep = open_sweep(write_distances(tmp_path))
        figure = transition_figure(sweep, open_trajectory(tmp_path / "0_0.h5"))
        here = panel(figure, "distance")
        assert [axes.get_ylabel() for axes in figure.axes] == ["distance", "KL"]
        raw = here.containers[0].lines[0]
        np.testing.assert_allclose(raw.get_ydata(), 3 * [0.4 * 5**0.5])
        coupled = here.containers[1].lines[0]
        np.testing.assert_allclose(coupled.get_ydata(), [2.7, 2.7 / 8, 2.7 / 64])
        found = edges(here.collections[0])
        assert found[8.0] == pytest.approx((1.5 / 8, 2.4 / 8))
        assert BRACKET in texts(figure)

    def test_swept_prior(self, tmp_path):
        for i, std in enumerate([1.0, 3.0]):
            place = {
                "dims": ["output_std"],
                "index": {"output_std": i},
                "values": {"output_std": std},
            }
            write(tmp_path / f"{i}.h5", distances(), sweep=place)
        figure = sweep_figure(open_sweep(tmp_path), open_trajectory(tmp_path / "0.h5"))
        bound = panel(figure, "distance").containers[2].lines[0].get_ydata()
        assert bound == pytest.approx([1.2, 3.6])


def gaps(rows=4, **changed):
    """Rows of gaps and eigenvalues: those of the own kernel start at 0."""
    return [
        {
            "ntk_gap": 1e-3 * k,
            "test_ntk_gap": 2e-3 * k,
            "ntk_gap_infinite": 3e-3 + 1e-3 * k,
            "test_ntk_gap_infinite": 4e-3 + 1e-3 * k,
            "kernel_lambda_min": 0.01,
            "kernel_lambda_max": 0.015,
            "kernel_lambda_min_error": 1e-12,
        }
        | changed
        for k in range(rows)
    ]


class TestKernels:
    def test_panels(self, tmp_path):
        run = open_trajectory(
            write(tmp_path / "a.h5", gaps(), unit="output^2", symbol="g")
        )
        figure = run_figure(run)
        labels = ["NTK gap [output$^{2}$]", "eigenvalue [output$^{2}$]"]
        assert [axes.get_ylabel() for axes in figure.axes] == labels
        # Eigenvalues within a factor two too are on a logarithmic axis.
        assert {axes.get_yscale() for axes in figure.axes} == {"log"}
        series = run.series.isel(step=(run.series.kernel_time > 0).values)
        words = {
            "train, own kernel": "ntk_gap",
            "test, own kernel": "test_ntk_gap",
            "train, infinite width": "ntk_gap_infinite",
            "test, infinite width": "test_ntk_gap_infinite",
            r"$\lambda_{\max}(H)$": "kernel_lambda_max",
            r"$\lambda_{\min}(H)$": "kernel_lambda_min",
        }
        for i, (word, key) in enumerate(words.items()):
            line = drawn(figure.axes[i // 4], word)
            np.testing.assert_array_equal(line.get_ydata(), series[key])
        assert save_plot(run.path).exists()

    def test_each_kernel_has_a_colour_and_test_points_open_markers(self, tmp_path):
        path = write(tmp_path / "a.h5", gaps())
        axes = run_figure(open_trajectory(path)).axes[0]
        own, own_test, infinite, infinite_test = (
            drawn(axes, f"{where}, {what}")
            for what in ("own kernel", "infinite width")
            for where in ("train", "test")
        )
        assert own.get_color() == own_test.get_color() != infinite.get_color()
        assert infinite.get_color() == infinite_test.get_color()
        faces = [line.get_markerfacecolor() for line in (own_test, infinite_test)]
        assert faces == ["white", "white"]
        assert own.get_markerfacecolor() == own.get_color()
        assert infinite.get_markerfacecolor() == infinite.get_color()

    def test_a_singular_kernel_has_no_place(self, tmp_path):
        path = write(tmp_path / "a.h5", gaps(kernel_lambda_min=0.0))
        figure = run_figure(open_trajectory(path))
        line = drawn(figure.axes[1], r"$\lambda_{\min}(H)$")
        assert np.isnan(line.get_ydata()).all()
        assert save_plot(path).exists()

    def test_against_alpha(self, tmp_path):
        for i, alpha in enumerate([1.0, 2.0, 4.0]):
            place = {
                "dims": ["alpha"],
                "index": {"alpha": i},
                "values": {"alpha": alpha},
            }
            rows = gaps(1, ntk_gap=alpha**-4, kernel_drift_relative=alpha**-2)
            write(tmp_path / f"{i}.h5", rows, sweep=place)
        figure = transition_figure(open_sweep(tmp_path))
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert labels == ["relative change", "NTK gap", "eigenvalue"]
        assert "train, own kernel" in texts(figure)
        line = figure.axes[1].containers[0].lines[0]
        np.testing.assert_allclose(line.get_ydata(), [1, 2.0**-4, 4.0**-4])


class TestTime:
    def figure(self, folder, **options):
        run = open_trajectory(sorted(folder.glob("*.h5"))[0])
        return time_figure(open_sweep(folder), run, **options)

    def test_a_panel_for_each_alpha(self, tmp_path):
        figure = self.figure(write_distances(tmp_path))
        titles = [axes.get_title() for axes in figure.axes]
        assert titles == [rf"${{\alpha}}$ = {a}" for a in (1, 8, 64)]
        assert figure.axes[0].get_ylabel() == "distance"
        assert figure.axes[0].get_xlabel() == r"kernel time ${\tau}$"
        for alpha, axes in zip((1, 8, 64), figure.axes, strict=True):
            series = open_sweep(tmp_path).sel(alpha=alpha).isel(seed=0)
            series = series.isel(save=(series.kernel_time > 0).values)
            assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
            assert axes.get_ylim() == figure.axes[0].get_ylim()
            check_distances(axes, series)

    def test_words(self, tmp_path):
        written = texts(self.figure(write_distances(tmp_path)))
        for part in (
            RAW,
            COUPLED,
            TALAGRAND,
            BRACKET,
            "$W_2$, transport",
            "free neuro",
        ):
            assert part in written
        # One legend, with what the runs are for its title.
        (legend,) = self.figure(tmp_path).legends
        for part in (r"${\lambda}$ = $10^{-4}$", "$m$ = 64", "$n$ = 7", "Digits"):
            assert part in legend.get_title().get_text()
        assert "alpha" not in legend.get_title().get_text()

    def test_means_over_seeds(self, tmp_path):
        figure = self.figure(write_distances(tmp_path, factors=(1.0, 3.0)))
        line = drawn(figure.axes[1], COUPLED)
        mean = 2 * 0.9 * 3 / 8
        assert line.get_ydata()[-1] == pytest.approx(mean)
        (bars,) = figure.axes[1].containers[1].lines[2]
        # Standard error of two: half their distance.
        assert bars.get_segments()[-1][:, 1] == pytest.approx([mean / 2, 1.5 * mean])
        assert "Means over 2 seeds; error bars are standard errors." in texts(figure)

    def test_an_unfinished_seed_is_in_no_mean(self, tmp_path):
        write_distances(tmp_path, alphas=(1.0, 8.0), factors=(1.0, 3.0))
        (tmp_path / "1_1.h5").unlink()
        (tmp_path / "0_1.h5").unlink()
        place = {
            "dims": ["alpha", "seed"],
            "index": {"alpha": 0, "seed": 1},
            "values": {"alpha": 1.0, "seed": 1},
        }
        rows = distances(1.0, factor=9.0)[:4]
        write(tmp_path / "0_1.h5", rows, sweep=place, status="diverged")
        figure = self.figure(tmp_path)
        assert drawn(figure.axes[0], COUPLED).get_ydata()[-1] == pytest.approx(2.7)
        assert "Not completed: 2 of 4 runs (1 diverged, 1 missing)" in texts(figure)

    def test_no_run_is_completed(self, tmp_path):
        figure = self.figure(write_distances(tmp_path, status="interrupted"))
        assert drawn(figure.axes[0], COUPLED).get_ydata()[-1] == pytest.approx(2.7)

    def test_of_many_alphas_four(self, tmp_path):
        alphas = [2.0**k for k in range(10)]
        figure = self.figure(write_distances(tmp_path, alphas=alphas))
        titles = [axes.get_title().split(" = ")[1] for axes in figure.axes]
        assert titles == ["1", "8", "64", "512"]
        assert r"4 of 10 values of ${\alpha}$, evenly spread." in texts(figure)

    def test_of_another_axis_the_first(self, tmp_path):
        for j, width in enumerate([64, 256]):
            for i, alpha in enumerate([1.0, 8.0]):
                place = {
                    "dims": ["width", "alpha"],
                    "index": {"width": j, "alpha": i},
                    "values": {"width": width, "alpha": alpha},
                }
                rows = distances(alpha, factor=1 + j)
                write(tmp_path / f"{j}_{i}.h5", rows, sweep=place)
        figure = self.figure(tmp_path)
        assert drawn(figure.axes[1], COUPLED).get_ydata()[-1] == pytest.approx(2.7 / 8)
        assert "Only $m$ = 64, of 2 in the sweep." in texts(figure)

    def test_seeds_alone_are_one_panel(self, tmp_path):
        for seed in range(3):
            place = {
                "dims": ["seed"],
                "index": {"seed": seed},
                "values": {"seed": seed},
            }
            write(tmp_path / f"{seed}.h5", distances(), sweep=place)
        (axes,) = self.figure(tmp_path).axes
        assert drawn(axes, COUPLED).get_ydata()[-1] == pytest.approx(1.35)

    @pytest.mark.parametrize("value", [0.0, np.nan])
    @pytest.mark.parametrize("rows", [0, 1, 3])
    def test_no_value_has_a_place(self, tmp_path, value, rows):
        place = {"dims": ["alpha"], "index": {"alpha": 0}, "values": {"alpha": 1.0}}
        every = [dict.fromkeys(row, value) for row in distances(rows=rows)]
        write(tmp_path / "s" / "0.h5", every, sweep=place)
        if rows:
            assert save_plot(tmp_path / "s", against="time").exists()
        else:
            with pytest.raises(ConfigError, match="a sweep against time needs one of"):
                save_plot(tmp_path / "s", against="time")

    def test_no_distance(self, tmp_path):
        with pytest.raises(
            ConfigError, match=r"needs one of \['displacement', .* none"
        ):
            save_plot(write_sweep(tmp_path / "s"), against="time")


class TestTransition:
    def test_alpha_c(self, tmp_path):
        sweep = open_sweep(write_sweep(tmp_path))
        figure = transition_figure(sweep, open_trajectory(tmp_path / "0_0_0.h5"))
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert labels == ["relative change", "error [%]", "risk"]
        moved, error, risk = figure.axes
        scales = [(a.get_xscale(), a.get_yscale()) for a in figure.axes]
        assert scales == [("log", "log"), ("log", "linear"), ("log", "linear")]
        assert risk.get_xlabel() == r"${\alpha}$"
        # Seeds cross at sqrt(36) and sqrt(44): half their distance is the error.
        half = (np.sqrt(44) - np.sqrt(36)) / 2
        assert rf"$\alpha_c={40**0.5:.2f}\pm{half:.2f}$" in texts(figure)
        for axes in figure.axes:
            assert any(is_at(line, 40**0.5) for line in axes.lines)
        assert "2 seeds; error bars and ± are standard errors" in texts(figure)
        assert "seed = " not in texts(figure)
        assert [len(axes.containers) for axes in (moved, error, risk)] == [2, 2, 2]

    def test_without_errors_risk_alone(self, tmp_path):
        place = {"dims": ["alpha"], "index": {"alpha": 0}, "values": {"alpha": 1.0}}
        row = {"train_risk": 1.0, "displacement_relative": 1.0}
        write(tmp_path / "a.h5", [row], sweep=place)
        labels = [a.get_ylabel() for a in transition_figure(open_sweep(tmp_path)).axes]
        assert labels == ["relative change", "risk"]

    @pytest.mark.parametrize("status", ["completed", "diverged"])
    def test_values_that_are_not_finite_are_told(self, tmp_path, status):
        for i, risk in enumerate([0.5, np.nan]):
            place = {
                "dims": ["alpha"],
                "index": {"alpha": i},
                "values": {"alpha": i + 1},
            }
            row = {"train_risk": risk, "test_risk": 0.5}
            write(tmp_path / f"{i}.h5", [row], sweep=place, status=status)
        caption = texts(transition_figure(open_sweep(tmp_path)))
        told = "Not finite, so left out: train risk (1)." in caption
        assert told == (status == "completed")

    def test_no_fall(self, tmp_path):
        sweep = open_sweep(write_sweep(tmp_path, factors=(1000.0,)))
        figure = transition_figure(sweep)
        assert "no fall through 0.1" in texts(figure)
        assert "seeds" not in texts(figure)

    def test_another_axis_is_a_family(self, tmp_path):
        folder = write_sweep(tmp_path, ("width", [64, 256]), factors=(1.0,))
        figure = transition_figure(open_sweep(folder))
        assert len(figure.axes[0].containers) == 4
        assert rf"$m$ = 64{chr(10)}$\alpha_c={40**0.5:.3g}$" in texts(figure)
        assert rf"$m$ = 256{chr(10)}$\alpha_c={80**0.5:.3g}$" in texts(figure)

    def test_missing_and_unfinished_runs(self, tmp_path):
        folder = write_sweep(tmp_path / "s")
        (folder / "0_3_1.h5").unlink()
        (folder / "0_2_0.h5").unlink()
        place = {
            "dims": ["temperature", "alpha", "seed"],
            "index": {"temperature": 0, "alpha": 2, "seed": 0},
            "values": {"temperature": 0.0, "alpha": 4.0, "seed": 0},
        }
        write(folder / "0_2_0.h5", falling(1), sweep=place, status="diverged")
        assert save_plot(folder) == folder.resolve().with_name("s.png")
        figure = transition_figure(open_sweep(folder))
        wanted = "Not completed: 2 of 12 runs (1 diverged, 1 missing)"
        assert wanted in texts(figure)
        assert figure.axes[0].get_yscale() == "log"
        assert any(line.get_marker() == "x" for line in figure.axes[0].lines)

    def test_no_run_is_completed(self, tmp_path):
        folder = write_sweep(tmp_path / "s", status="interrupted")
        assert save_plot(folder).exists()
        assert "12 of 12 runs" in texts(transition_figure(open_sweep(folder)))

    def test_categories(self, tmp_path):
        for i, kind in enumerate(["Tanh", "Relu"]):
            place = {
                "dims": ["activation"],
                "index": {"activation": i},
                "values": {"activation": kind},
            }
            write(tmp_path / f"{i}.h5", falling(), sweep=place)
        axes = sweep_figure(open_sweep(tmp_path)).axes[-1]
        assert [t.get_text() for t in axes.get_xticklabels()] == ["Tanh", "Relu"]
        assert axes.get_xlabel() == "activation"


class TestSaving:
    def test_png_beside_the_file(self, tmp_path):
        out = save_plot(write(tmp_path / "a.h5", falling()))
        assert out == tmp_path / "a.png"
        assert out.read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize(
        ("suffix", "start"), [(".pdf", b"%PDF"), (".svg", b"<?xml")]
    )
    def test_other_formats_in_a_new_folder(self, tmp_path, suffix, start):
        path = write(tmp_path / "a.h5", falling())
        out = save_plot(path, tmp_path / "new" / f"b{suffix}")
        assert out.read_bytes().startswith(start)

    def test_suffix(self, tmp_path):
        wanted = r"out must end in one of \['.pdf', '.png', '.svg'\], got 'a.h5'"
        with pytest.raises(ConfigError, match=wanted):
            save_plot(tmp_path / "a.h5", tmp_path / "a.h5")

    def test_unwritable(self, tmp_path):
        path = write(tmp_path / "a.h5", falling())
        (tmp_path / "taken.png").mkdir()
        with pytest.raises(MfsimError, match=r"taken.png must be writable"):
            save_plot(path, tmp_path / "taken.png")

    def test_no_such_input(self, tmp_path):
        with pytest.raises(FormatError):
            save_plot(Path(tmp_path / "none.h5"))

    def test_against(self, tmp_path):
        folder = write_distances(tmp_path / "s")
        assert save_plot(folder).name == "s.png"
        assert save_plot(folder, against="time").name == "s_time.png"
        wanted = r"against must be one of \['sweep', 'time'\], got 'alpha'"
        with pytest.raises(ConfigError, match=wanted):
            save_plot(folder, against="alpha")

    def test_against_on_the_command_line(self, tmp_path):
        folder, cli = write_distances(tmp_path / "s"), CliRunner()
        for given, name in (("time", "s_time.png"), ("sweep", "s.png")):
            result = cli.invoke(app, ["plot", str(folder), "--against", given])
            assert result.exit_code == 0
            assert result.stdout == f"{(tmp_path / name).resolve()}\n"
            assert (tmp_path / name).exists()
        run = str(folder / "0_0.h5")
        result = cli.invoke(app, ["plot", run, "--against", "time"])
        assert result.stdout == f"{folder / '0_0.png'}\n"

    def test_against_nothing_known(self, tmp_path):
        result = CliRunner().invoke(app, ["plot", str(tmp_path), "--against", "alpha"])
        assert result.exit_code == 2
        (line,) = (t for t in result.stderr.splitlines() if "--against" in t)
        assert "'alpha' is not one of 'sweep', 'time'" in line

    def test_neither_pyplot_nor_jax(self):
        code = (
            "import sys, mfsim.figures\n"
            "assert not {'jax', 'matplotlib.pyplot'} & {*sys.modules}"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
