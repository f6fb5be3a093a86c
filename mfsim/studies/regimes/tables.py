"""The tables of the regimes."""

import math
from collections.abc import Sequence

import numpy as np

from mfsim.findings import Table
from mfsim.studies.regimes.budgets import Budget
from mfsim.studies.regimes.measured import Measured
from mfsim.studies.statistics import TooFew
from mfsim.theory import Bound

_INTERVAL = "low (95 %)", "high (95 %)"


def needs_table(measured: Measured, budgets: Sequence[Budget]) -> Table:
    """The n that is needed."""
    rows = [
        (
            budget.shift,
            math.log10(budget.chi2),
            label,
            *_needed(measured, budget, alpha),
        )
        for budget in budgets
        for alpha, label in measured.learners()
    ]
    return Table(
        "needed",
        f"The n at which test error/Var y falls through {measured.level:g}.",
        ("ρ", "log10 χ²", "learner", "n needed", *_INTERVAL, "note"),
        tuple(rows),
    )


def _needed(
    measured: Measured, budget: Budget, alpha: float | None
) -> tuple[float | None, float | None, float | None, str]:
    try:
        value, low, high, warning = measured.needed(budget.shift, alpha)
        return value, low, high, warning
    except TooFew as error:
        return None, None, None, str(error)


def errors_table(measured: Measured, budgets: Sequence[Budget]) -> Table:
    """Test errors at the temperatures that were chosen."""
    rows = []
    for budget in budgets:
        for alpha, label in measured.learners():
            means = measured.means(budget.shift, alpha)
            best = _temperatures(measured, budget.shift, alpha)
            for size, mean, temperature in zip(
                measured.sizes, means, best, strict=True
            ):
                chi2 = math.log10(budget.chi2)
                rows.append((budget.shift, chi2, label, size, temperature, *mean[:3]))
    return Table(
        "errors",
        "Test error: geometric means of draws; λ/Var y is the best of all draws.",
        ("ρ", "log10 χ²", "learner", "n", "λ/Var y", "error/Var y", *_INTERVAL),
        tuple(rows),
    )


def _temperatures(
    measured: Measured, shift: float, alpha: float | None
) -> Sequence[float | None]:
    if alpha is None:
        return [None] * len(measured.sizes)
    return measured.temperatures.sel(shift=shift, alpha=alpha).values.tolist()


def budgets_table(budgets: Sequence[Budget]) -> Table:
    """What the teachers cost, and the least that their labels cost."""
    points = budgets[0].points
    columns = (
        *("ρ", "ε", "Var y [output²]", "KL(p_true|p_0) [nat]", "log10 χ²(p_true, p_0)"),
        f"least KL, {points} points [nat]",
        f"least χ², {points} points, signed",
        *("KL/Var y", "least χ²/Var y"),
    )
    rows = []
    for b in budgets:
        kl, chi2 = (float(np.mean(least)) for least in (b.least_kl, b.least_chi2))
        costs = b.kl, math.log10(b.chi2), kl, chi2, b.kl / b.variance
        rows.append((b.shift, b.epsilon, b.variance, *costs, chi2 / b.variance))
    return Table(
        "budgets",
        "KL and χ² of the teachers, and the least with their labels, mean of draws.",
        columns,
        tuple(rows),
    )


def bounds_table(
    rows: Sequence[tuple[float, float, float, Bound]], num_train: int
) -> Table:
    """What the theorems grant, of (shift, alpha, measured error, bound)."""
    return Table(
        "bounds",
        "GNTK's bounds on the 0-1 error at t = ∞, beside the test error/Var y that was "
        f"measured, n = {num_train}.",
        ("ρ", "α", "error/Var y", "theorem", "bound", "conditions that fail"),
        tuple(
            (shift, alpha, error, *_in_words(bound))
            for shift, alpha, error, bound in rows
        ),
    )


def _in_words(bound: Bound) -> tuple[str, str, str]:
    name = bound.statement.split(":")[0]
    value = f"{bound.value:.3g}" + (" (vacuous)" if bound.vacuous else "")
    return name, value, "; ".join(bound.unmet)
