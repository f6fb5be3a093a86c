"""Figures: what they show of a run and of a sweep, also where something is missing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mfsim.errors import ConfigError, FormatError, MfsimError
from mfsim.figures import (
    crossing,
    run_figure,
    save_plot,
    sweep_figure,
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


def write(path, rows, *, sweep=None, status="completed", config=CONFIG, symbol="s"):
    """A file with these rows of values by name, at kernel times 0, 1, 2, 4, ..."""
    names = rows[0] if rows else NAMES
    recorder = Recorder.create(
        path,
        attributes={"config_hash": "abc", "seed": 3},
        config=config,
        series={name: Series("1", symbol, name) for name in names},
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


def is_at(line, x):
    """Whether a line is upright at x."""
    return np.shape(line.get_xdata()) == (2,) and np.allclose(line.get_xdata(), x)


def texts(figure):
    """All that is written in a figure's title, caption, legends."""
    legends = [axes.get_legend() for axes in figure.axes] + figure.legends
    entries = [t.get_text() for legend in legends for t in legend.get_texts()]
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

    def test_neither_pyplot_nor_jax(self):
        code = (
            "import sys, mfsim.figures\n"
            "assert not {'jax', 'matplotlib.pyplot'} & {*sys.modules}"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
