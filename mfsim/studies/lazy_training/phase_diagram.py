"""How far input weights move as the width grows: linear, critical, condensed.

f = m^(-gamma) sum_j u_j relu(w_j . x), N(0, 1) at the start, is alpha = m^(1 - gamma).
The relative distance RD(w) = |w(end) - w(0)|/|w(0)| of a fitted net goes like m^S_w.

Source: Luo, Xu, Ma, Zhang, JMLR 22(71), 2021 (arXiv 2007.07497), sec. 3.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray

from mfsim.activations import Relu
from mfsim.datasets import ArrayFile
from mfsim.datasets.prepare import Prepare
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Chart, Curve, Findings, Map, Panel, Table, Verdict
from mfsim.flows import ParticleFlow
from mfsim.integrators import NoisyGD
from mfsim.networks import TwoLayer
from mfsim.observables import Displacement, Risk
from mfsim.studies.base import grid, judge_near, last
from mfsim.studies.lazy_training.curves import seed_curve
from mfsim.studies.statistics import (
    Estimate,
    TooFew,
    local_exponents,
    log_log_slope,
)
from mfsim.sweep import Sweep

PUBLISHED = {
    0.5: -0.511,
    0.75: -0.215,
    1.0: 0.014,
    1.25: 0.163,
    1.5: 0.266,
    1.75: 0.391,
}
"""S_w by gamma."""

TOLERANCE = 0.04
"""How far from a published slope a measured one may be."""

FITTED = 1e-6
"""Mean squared error at which training ends; RD moves by 1 % for a factor of ten."""

STEP = 0.4
"""Of 1/alpha^2 and 1/alpha. At alpha >= 1 steps below 2n/(2 alpha^2 tr H) are stable,
tr H <= sum |x_i|^2 = 4.6 at the start; below it neurons inflate until H ~ 1/alpha."""

CRITICAL = 0.1
"""Largest |dlog RD/dlog m| that counts as none; 1/8 is that of gamma = 5/4."""

REGIONS = ("linear", "critical", "condensed")

POINTS = Path(__file__).with_name("points.csv")
"""Four points of the parabola: x = -1/2, -1/6, 1/6, 1/2, y = x^2."""


def sweep(widths: Sequence[int], gammas: Sequence[float], seeds: int) -> Sweep:
    """Every width at every gamma."""
    axes = {"width": widths, "gamma": gammas, "seed": range(seeds)}
    return grid("phase_diagram", axes, experiment)


def experiment(*, width: int, gamma: float, seed: int) -> Experiment:
    """Gradient flow from pairs of neurons, f = 0, until the four points are fitted.

    Without pairs f starts at O(alpha/sqrt(m)), a random target of its own, so that at
    gamma = 1/2 slopes differ by 0.3 from seed to seed.
    """
    alpha = width ** (1 - gamma)
    flow = ParticleFlow(
        network=TwoLayer(width=width, alpha=alpha, activation=Relu()),
        dataset=ArrayFile(path=POINTS, prepare=Prepare(bias=True)),
        shadow=False,
    )
    return Experiment(
        flow,
        NoisyGD(step_of(alpha)),
        Schedule(
            num_steps=8000,
            saves=40,
            spacing="log",
            snapshots=0,
            stop=f"train_risk < {FITTED:g}",
        ),
        observables=(Risk(), Displacement(blocks=True)),
        seed=seed,
    )


def step_of(alpha: float) -> float:
    """Step in flow time that is stable at the start and at the end."""
    return STEP * min(1 / alpha**2, 1 / alpha)


def theory(gamma: float) -> float:
    """S_w as m tends to infinity: gamma - 1, halved where neurons condense."""
    return (gamma - 1) / (2 if gamma > 1 else 1)


def report(runs: xarray.Dataset) -> Findings:
    """Slopes against the published ones, and the map."""
    widths = runs.width.values.astype(float)
    distance = last(runs, "displacement_relative_w")
    curves = {
        float(gamma): distance.sel(gamma=gamma).transpose("width", "seed").values
        for gamma in runs.gamma.values
    }
    slopes = {gamma: _slope(widths, rd) for gamma, rd in curves.items()}
    return Findings(
        verdicts=tuple(
            _verdict(gamma, widths, curves[gamma])
            for gamma in curves
            if gamma in PUBLISHED
        ),
        tables=(_table(slopes),),
        charts=(_chart(widths, curves, slopes), _map(widths, curves)),
        notes=_unfitted(runs),
    )


def _verdict(gamma: float, widths: np.ndarray, rd: np.ndarray) -> Verdict:
    seeds = rd.shape[1]
    return judge_near(
        f"Input weights move like m^S_w at γ = {gamma:g} (α = m^(1 − γ), λ = 0, "
        f"n = 4, m = {widths[0]:g} … {widths[-1]:g}, {seeds} seeds)",
        f"{PUBLISHED[gamma]:g} ± {TOLERANCE:g} (published)",
        lambda: log_log_slope(widths, rd),
        value=PUBLISHED[gamma],
        tolerance=TOLERANCE,
        note=f"theory {theory(gamma):g} as m → ∞",
    )


def _slope(widths: np.ndarray, rd: np.ndarray) -> Estimate:
    try:
        return log_log_slope(widths, rd)
    except TooFew as error:
        return Estimate(np.nan, np.nan, np.nan, str(error))


def _table(slopes: dict[float, Estimate]) -> Table:
    columns = ("γ", "S_w measured", "low", "high", "published", "theory")
    rows = tuple(
        (gamma, *found[:3], PUBLISHED.get(gamma), theory(gamma))
        for gamma, found in slopes.items()
    )
    return Table("luo_slopes", "Slopes S_w of log RD(w) over log m.", columns, rows)


def _chart(
    widths: np.ndarray, curves: dict[float, np.ndarray], slopes: dict[float, Estimate]
) -> Chart:
    distances = [
        seed_curve(f"γ = {gamma:g}", widths, rd, look="points")
        for gamma, rd in curves.items()
    ]
    distances.append(_fits(widths, curves, slopes))
    gammas = tuple(curves)
    found = zip(*(slopes[gamma][:3] for gamma in gammas), strict=True)
    published = tuple((g, s) for g, s in PUBLISHED.items() if g in curves)
    lines = [
        Curve("measured", gammas, *found, look="points"),
        Curve("theory, m → ∞", gammas, tuple(map(theory, gammas)), look="reference"),
    ]
    if published:
        x, y = zip(*published, strict=True)
        lines.append(Curve("Luo et al. 2021", x, y, look="reference"))
    seeds = next(iter(curves.values())).shape[1]
    return Chart(
        "luo_slopes",
        "Relative distance of the input weights of nets that fit four points of a "
        f"parabola, α = m^(1 − γ), λ = 0, n = 4, {seeds} seeds, with fits; and the "
        "slopes of these. Bars are 95 % intervals.",
        (
            Panel("width m", "RD(w) = |w − w₀|/|w₀|", tuple(distances)),
            Panel(
                "γ",
                "S_w = dlog RD/dlog m",
                tuple(lines),
                x_scale="linear",
                y_scale="linear",
            ),
        ),
    )


def _fits(
    widths: np.ndarray, curves: dict[float, np.ndarray], slopes: dict[float, Estimate]
) -> Curve:
    """The lines of all gamma, apart."""
    u = np.log(widths) - np.log(widths).mean()
    x, y = [], []
    for gamma, rd in curves.items():
        present = np.log(rd[np.isfinite(rd)])
        middle = present.mean() if len(present) else np.nan
        x += [*widths.tolist(), float(widths[-1])]
        y += [*np.exp(middle + slopes[gamma].value * u).tolist(), np.nan]
    return Curve("fits", tuple(x), tuple(y), look="reference")


def _map(widths: np.ndarray, curves: dict[float, np.ndarray]) -> Chart:
    x, y, regions = [], [], []
    for gamma, rd in curves.items():
        middles, exponents = local_exponents(widths, rd)
        for middle, seeds in zip(middles, exponents, strict=True):
            if np.isfinite(seeds).any():
                x.append(float(np.log10(middle)))
                y.append(gamma)
                regions.append(region(float(np.nanmean(seeds))))
    return Chart(
        "luo_map",
        "Where input weights move ever less (linear), as much (critical) or ever more "
        "(condensed) as the width grows: the sign of dlog RD/dlog m between "
        f"neighbouring widths, none where it is below {CRITICAL:g}.",
        map=Map(
            "log₁₀ m",
            "γ = 1 − log α/log m",
            tuple(x),
            tuple(y),
            tuple(regions),
            REGIONS,
        ),
    )


def region(exponent: float) -> str:
    """What a local exponent of RD over m says."""
    if abs(exponent) < CRITICAL:
        return "critical"
    return "linear" if exponent < 0 else "condensed"


def _unfitted(runs: xarray.Dataset) -> tuple[str, ...]:
    risks = last(runs, "train_risk").values
    number = int((risks >= FITTED).sum())
    if not number:
        return ()
    return (
        f"{number} of {risks.size} runs of the phase diagram ended with a mean squared "
        f"error of {FITTED:g} or more.",
    )
