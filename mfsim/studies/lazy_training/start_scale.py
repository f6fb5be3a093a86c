"""What laziness costs: test loss against the scale tau of the start.

Weights tau (w, u) of m neurons whose outputs are added up are alpha = m tau^2 here; a
step s of the loss (1/2n) sum (f - y)^2 in them is eta = s/(2 alpha).

Source: Chizat, Oyallon, Bach 2019 (arXiv 1812.07956), fig. 1c.
"""

import math
from collections.abc import Sequence

import numpy as np
import xarray

from mfsim.activations import Relu
from mfsim.experiment import Experiment
from mfsim.findings import Chart, Curve, Findings, Panel, Table, Verdict
from mfsim.networks import TwoLayer
from mfsim.studies.base import grid, judge, judge_near, last
from mfsim.studies.lazy_training.curves import seed_curve
from mfsim.studies.lazy_training.teacher import LOSS, UNIT, learn, mean_and_spread
from mfsim.studies.statistics import Estimate, TooFew, bootstrap_mean
from mfsim.sweep import Sweep

PUBLISHED = {0.01: 0.07, 0.0398: 0.72, 0.1: 1.75, 0.2: 2.44, 1.0: 3.07}
"""1000 x test loss, theirs with its half, by tau: means of 10 trials."""

PUBLISHED_TRIALS = 10

PLATEAU = 1.0
"""The tau from which on the loss is flat."""


def sweep(
    scales: Sequence[float], width: int, num_train: int, num_steps: int, trials: int
) -> Sweep:
    """Every tau in every trial."""

    def experiment(*, scale: float, trial: int) -> Experiment:
        alpha = alpha_of(scale, width)
        return learn(
            TwoLayer(width=width, alpha=alpha, activation=Relu()),
            step_of(alpha, width),
            num_train=num_train,
            num_steps=num_steps,
            trial=trial,
        )

    return grid("start_scale", {"scale": scales, "trial": range(trials)}, experiment)


def alpha_of(scale: float, width: int) -> float:
    """The alpha of a start with standard deviation tau: m tau^2."""
    return width * scale**2


def step_of(alpha: float, width: int) -> float:
    """Their s = min(10, 0.1/tau^2), in flow time: min(5/alpha, 0.05 m/alpha^2)."""
    return min(5 / alpha, 0.05 * width / alpha**2)


def report(runs: xarray.Dataset, width: int, setting: str) -> Findings:
    """The shape of the curve, its plateau and its published points."""
    scales = runs.scale.values.astype(float)
    end = UNIT * last(runs, "test_risk").transpose("scale", "trial").values
    best = UNIT * runs.test_risk.min("save").transpose("scale", "trial").values
    setting = f"α = mτ², m = {width}, {setting}, {end.shape[1]} trials"
    published = [
        _published(tau, trials, setting)
        for tau, trials in zip(scales, end, strict=True)
        if tau in PUBLISHED
    ]
    return Findings(
        verdicts=(
            _rise(scales, end, setting),
            _start(scales, end, setting),
            _plateau(scales, end, setting),
            *published,
        ),
        tables=(_table(scales, width, end, best),),
        charts=(_chart(scales, end, best, setting),),
    )


def _rise(scales: np.ndarray, end: np.ndarray, setting: str) -> Verdict:
    rising = scales <= PLATEAU

    def measure() -> Estimate:
        if rising.sum() < 3:
            raise TooFew(
                f"scales must be 3 or more up to {PLATEAU:g}, got {rising.sum()}"
            )
        rises = np.diff([mean_and_spread(trials)[0] for trials in end[rising]])
        return Estimate(float(np.sum(~(rises > 0))), np.nan, np.nan)

    return judge(
        f"The test loss rises with τ up to τ = {PLATEAU:g}: neighbouring τ between "
        f"which its mean does not ({setting})",
        "0",
        measure,
        lambda found: found.value == 0,
        note="a count, which has no interval",
    )


def _start(scales: np.ndarray, end: np.ndarray, setting: str) -> Verdict:
    flat = scales >= PLATEAU

    def measure() -> Estimate:
        if not flat.any():
            raise TooFew(f"scales must reach {PLATEAU:g}, got {scales[-1]:g} at most")
        return bootstrap_mean(end[0] / end[flat].mean(axis=0))

    published = PUBLISHED[0.01] / PUBLISHED[1.0]
    return judge(
        f"The curve starts near 0: test loss at τ = {scales[0]:g} over the mean of "
        f"τ ≥ {PLATEAU:g} ({setting})",
        "below 0.1",
        measure,
        lambda found: found.high < 0.1,
        note=f"published: {published:.2g}, τ = 0.01 over τ = 1",
    )


def _plateau(scales: np.ndarray, end: np.ndarray, setting: str) -> Verdict:
    flat = end[scales >= PLATEAU]

    def measure() -> Estimate:
        if len(flat) < 2:
            raise TooFew(
                f"scales must be 2 or more from {PLATEAU:g} on, got {len(flat)}"
            )
        return bootstrap_mean(flat[-1] / flat[0])

    return judge_near(
        f"The curve ends on a plateau: test loss at τ = {scales[-1]:g} over that at "
        f"the first τ ≥ {PLATEAU:g} ({setting})",
        "1 ± 1/3",
        measure,
        value=1,
        tolerance=1 / 3,
        note="the lazier, the slower the end: what remains to be fitted after the same "
        "steps is not overfitted yet",
    )


def _published(tau: float, trials: np.ndarray, setting: str) -> Verdict:
    """Whether two means, of theirs and of our trials, may differ by so much."""
    loss = PUBLISHED[tau]
    reach = math.sqrt(1 + len(trials) / PUBLISHED_TRIALS)

    def agrees(found: Estimate) -> bool:
        end = found.high if loss > found.value else found.low
        return abs(loss - found.value) <= reach * abs(end - found.value)

    _, spread = mean_and_spread(trials)
    return judge(
        f"{LOSS}, at the end for τ = {tau:g} ({setting})",
        f"{loss:g} (published, mean of {PUBLISHED_TRIALS} trials)",
        lambda: bootstrap_mean(trials),
        agrees,
        note="" if spread is None else f"standard deviation of the trials {spread:.2g}",
    )


def _table(scales: np.ndarray, width: int, end: np.ndarray, best: np.ndarray) -> Table:
    columns = ("τ", "α", "end", "trial spread", "best throughout", "published end")
    rows = tuple(
        (
            float(tau),
            alpha_of(float(tau), width),
            *mean_and_spread(end[i]),
            mean_and_spread(best[i])[0],
            PUBLISHED.get(float(tau)),
        )
        for i, tau in enumerate(scales)
    )
    return Table("lazy_scale", f"{LOSS}, by the scale of the start.", columns, rows)


def _chart(
    scales: np.ndarray, end: np.ndarray, best: np.ndarray, setting: str
) -> Chart:
    published = tuple(PUBLISHED), tuple(PUBLISHED.values())
    curves = (
        seed_curve("end of training", scales, end, is_log=False),
        seed_curve("best throughout", scales, best, is_log=False),
        Curve("Chizat et al. 2019, end", *published, look="points"),
    )
    return Chart(
        "lazy_scale",
        "Test loss of a net that learns from a teacher of three neurons, against the "
        f"scale τ of its start: {setting}. Bars are 95 % intervals of the mean.",
        (Panel("τ", LOSS, curves, y_scale="linear"),),
    )
