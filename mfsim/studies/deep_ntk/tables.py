"""The study's tables: powers, widths, kernels at the start, bounds."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from mfsim.findings import Cell, Table
from mfsim.studies.deep_ntk.bounds import Bounded
from mfsim.studies.deep_ntk.kernels import Starts
from mfsim.studies.deep_ntk.quantities import NUM_RESAMPLES, QUANTITIES, Part
from mfsim.studies.statistics import Estimate, TooFew, geometric_mean

Row = tuple[Cell, ...]


def tables(
    parts: Sequence[Part],
    kernels: Sequence[Starts],
    bounds: Sequence[Bounded],
    level: float,
) -> tuple[Table, ...]:
    """All of them."""
    return (
        _powers(parts),
        _widths(parts, level),
        _starts(kernels),
        _error_bounds(bounds),
        _training_bounds(bounds),
    )


def _powers(parts: Sequence[Part]) -> Table:
    rows = [
        (
            quantity.label,
            float(part.depth),
            exponent,
            quantity.power(exponent),
            *_estimate(partial(part.power, quantity, exponent)),
        )
        for quantity in QUANTITIES
        for part in quantity.of(parts)
        for exponent in part.exponents
    ]
    return Table(
        "deep_ntk_powers",
        f"Powers of m, largest values over time, {parts[0].setting}; predictions are "
        "of large m^a",
        ("quantity", "L", "a", "predicted", "power", "low", "high", "note"),
        tuple(rows),
    )


def _widths(parts: Sequence[Part], level: float) -> Table:
    rows = [
        (
            float(part.depth),
            exponent,
            *_estimate(partial(part.follows_from, exponent, level)),
        )
        for part in parts
        for exponent in part.exponents
    ]
    return Table(
        "deep_ntk_widths",
        "Width from which the test outputs stay within a root mean square distance of "
        f"{level:g} of the linearised twin's, labels −1 and 1, {parts[0].setting}",
        ("L", "a", "from m", "low", "high", "note"),
        tuple(rows),
    )


def _estimate(find: Callable[[], Estimate]) -> Row:
    try:
        found = find()
    except TooFew as error:
        return None, None, None, str(error)
    return *(float(end) for end in found[:3]), found.warning


def _starts(kernels: Sequence[Starts]) -> Table:
    rows = [
        (
            float(each.depth),
            float(width),
            *geometric_mean(row, num_resamples=NUM_RESAMPLES)[:3],
        )
        for each in kernels
        for width, row in zip(each.widths, each.distances, strict=True)
    ]
    return Table(
        "deep_ntk_starts",
        "Distance |Θ_m − Θ|_F/|Θ|_F of the kernel at the start from that of infinite "
        "width, geometric mean over seeds",
        ("L", "m", "distance", "low", "high"),
        tuple(rows),
    )


def _error_bounds(bounds: Sequence[Bounded]) -> Table:
    def rows() -> Iterator[Row]:
        for each in bounds:
            means = [
                each.mean(lambda run: run.test_error),
                each.mean(lambda run: run.train_risk),
                each.mean(lambda run: run.radius),
                each.mean(lambda run: run.bound.value),
            ]
            for place, width in enumerate(each.widths):
                runs = [run for run in each.ended if run.width == width]
                empty = sum(run.bound.vacuous for run in runs)
                values = (float(mean[place]) for mean in means)
                says = f"vacuous on {empty} of {len(runs)}"
                yield (float(each.depth), float(width), *values, says)

    return Table(
        "deep_ntk_error_bounds",
        "Test error of gradient descent on the logistic loss beside HMO 3.5, "
        f"2L_S + min(4^L L²R√(m/n), L^(3/2)R/√n + L^(11/3)R^(4/3)m^(−1/6)) + "
        f"√(log(1/δ)/n), δ = 0.05; means over seeds, {bounds[0].setting}",
        ("L", "m", "test error", "L_S", "R", "bound", "says"),
        tuple(rows()),
    )


def _training_bounds(bounds: Sequence[Bounded]) -> Table:
    def rows() -> Iterator[Row]:
        for each in bounds:
            for run in each.trained:
                says = {True: "holds", False: "broken", None: "run too short"}
                vacuous = ", vacuous" if run.bound.loss.vacuous else ""
                yield (
                    float(each.depth),
                    float(run.width),
                    float(run.seed),
                    run.radius,
                    run.ntrf_loss,
                    run.gap,
                    run.time,
                    run.least_risk,
                    run.bound.loss.value,
                    float(np.log10(run.bound.width)),
                    says[run.holds] + vacuous,
                )

    return Table(
        "deep_ntk_training_bounds",
        "Least training loss within kernel time T = LR²/ε beside HMO 3.3, 3ε, ε the "
        f"least loss of the NTRF ball of radius R, {bounds[0].setting}",
        (
            "L",
            "m",
            "seed",
            "R",
            "ε",
            "gap of ε",
            "T",
            "min L_S",
            "3ε",
            "log₁₀ m*",
            "says",
        ),
        tuple(rows()),
    )
