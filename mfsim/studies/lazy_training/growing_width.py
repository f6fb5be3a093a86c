"""What laziness costs: test loss against the width, lazy at sqrt(m) and not at 1.

Labels are multiplied by 100 and pairs left out, so that f starts at O(alpha/sqrt(m)).
Outputs added up and divided by sqrt(m) or m are alpha = sqrt(m) and 1; a step s of
their code in them is eta = s m/(2 alpha^2).

Source: Chizat, Oyallon, Bach 2019 (arXiv 1812.07956), fig. 2a.
"""

import math
from collections.abc import Sequence

import numpy as np
import xarray

from mfsim.activations import Relu
from mfsim.experiment import Experiment
from mfsim.findings import Chart, Findings, Panel, Table, Verdict
from mfsim.networks import TwoLayer
from mfsim.studies.base import grid, judge, last
from mfsim.studies.lazy_training.curves import seed_curve
from mfsim.studies.lazy_training.teacher import LOSS, UNIT, learn, mean_and_spread
from mfsim.studies.statistics import Estimate, TooFew, bootstrap_mean, exponential
from mfsim.sweep import Sweep

GAIN = 100.0
"""What the labels are multiplied by; losses are given of labels without it."""

FITTING = 16
"""The least width at which nets fit in every trial; the teacher has 3 neurons."""

SCALINGS = {"mean_field": "α = 1", "kernel": "α = √m"}


def sweep(widths: Sequence[int], num_train: int, num_steps: int, trials: int) -> Sweep:
    """Every width at both scales, in every trial."""

    def experiment(*, width: int, scaling: str, trial: int) -> Experiment:
        alpha = math.sqrt(width) if scaling == "kernel" else 1.0
        return learn(
            TwoLayer(width=width, alpha=alpha, activation=Relu(), antithetic=False),
            step_of(scaling, width),
            num_train=num_train,
            num_steps=num_steps,
            trial=trial,
            gain=GAIN,
        )

    axes = {"width": widths, "scaling": tuple(SCALINGS), "trial": range(trials)}
    return grid("growing_width", axes, experiment)


def step_of(scaling: str, width: int) -> float:
    """Their s = 1/m at sqrt(m) and 0.05/m at 1, in flow time."""
    return 0.5 / width if scaling == "kernel" else 0.025


def report(runs: xarray.Dataset, setting: str) -> Findings:
    """The kernel scaling generalises worse, the more so the wider the net."""
    widths = runs.width.values.astype(float)
    found = UNIT / GAIN**2 * last(runs, "test_risk")
    end = {
        name: found.sel(scaling=name).transpose("width", "trial").values
        for name in SCALINGS
    }
    setting = f"{setting}, without pairs, {runs.sizes['trial']} trials"
    return Findings(
        verdicts=(_excess(widths, end, setting), _growth(widths, end, setting)),
        tables=(_table(widths, end),),
        charts=(_chart(widths, end, setting),),
    )


def _excess(widths: np.ndarray, end: dict[str, np.ndarray], setting: str) -> Verdict:
    def measure() -> Estimate:
        ratios = end["kernel"][-1] / end["mean_field"][-1]
        return exponential(bootstrap_mean(np.log(ratios)))

    return judge(
        "Test loss at α = √m over that at α = 1, geometric mean over trials "
        f"(m = {widths[-1]:g}, {setting})",
        "above 1",
        measure,
        lambda found: found.low > 1,
    )


def _growth(widths: np.ndarray, end: dict[str, np.ndarray], setting: str) -> Verdict:
    wide = end["kernel"][widths >= FITTING]
    first = widths[widths >= FITTING][:1]

    def measure() -> Estimate:
        if len(wide) < 2:
            raise TooFew(f"widths must be 2 or more from {FITTING} on, got {len(wide)}")
        return bootstrap_mean(wide[-1] - wide[0])

    return judge(
        f"{LOSS}, at α = √m grows with m: that of the largest less that of the least "
        f"m ≥ {FITTING} (m = {', '.join(f'{m:g}' for m in (*first, widths[-1]))}, "
        f"{setting})",
        "above 0",
        measure,
        lambda found: found.low > 0,
        note="narrower nets do not always fit",
    )


def _table(widths: np.ndarray, end: dict[str, np.ndarray]) -> Table:
    rows = tuple(
        (
            float(m),
            *mean_and_spread(end["mean_field"][i]),
            *mean_and_spread(end["kernel"][i]),
        )
        for i, m in enumerate(widths)
    )
    columns = ("m", "α = 1", "trial spread, α = 1", "α = √m", "trial spread, α = √m")
    return Table("lazy_width", f"{LOSS}, by width.", columns, rows)


def _chart(widths: np.ndarray, end: dict[str, np.ndarray], setting: str) -> Chart:
    curves = tuple(
        seed_curve(label, widths, end[name], is_log=False)
        for name, label in SCALINGS.items()
    )
    return Chart(
        "lazy_width",
        "Test loss of a net that learns from a teacher of three neurons, against its "
        f"width, at two scales: {setting}. Bars are 95 % intervals of the mean.",
        (Panel("width m", LOSS, curves, y_scale="linear"),),
    )
