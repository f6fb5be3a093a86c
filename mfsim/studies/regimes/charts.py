"""The charts of the regimes."""

import math
from collections.abc import Sequence

import numpy as np

from mfsim.findings import Chart, Curve, Panel
from mfsim.studies.regimes.budgets import Budget
from mfsim.studies.regimes.measured import Measured
from mfsim.studies.statistics import Estimate, TooFew


def charts(
    measured: Measured, budgets: Sequence[Budget], setting: str
) -> tuple[Chart, ...]:
    """Error against n; n needed and what the teachers cost against chi^2."""
    bars = "; bars are 95 % intervals over draws"
    return (
        Chart(
            "errors",
            f"Test error against n, {setting}{bars}. Dashed: the kernel H(p_0) at "
            "t = ∞, and the level.",
            tuple(_errors_panel(measured, budget) for budget in budgets),
        ),
        Chart(
            "needed",
            f"n needed for test error/Var y = {measured.level:g}, {setting}{bars}. "
            "Dashed: the kernel H(p_0) at t = ∞. Beside it what the teachers cost, and "
            "the least KL of any law and the least χ² of any signed density with their "
            f"labels on {budgets[0].points} points; mean of the draws.",
            (_needs_panel(measured, budgets), _budgets_panel(budgets)),
        ),
    )


def _errors_panel(measured: Measured, budget: Budget) -> Panel:
    sizes = tuple(map(float, measured.sizes))
    curves = []
    for alpha, label in measured.learners():
        means = measured.means(budget.shift, alpha)
        curves.append(_curve(label, sizes, means, alpha is None))
    level = (measured.level,) * len(sizes)
    curves.append(Curve(f"{measured.level:g}", sizes, level, look="reference"))
    return Panel("n", "test error/Var y", tuple(curves), budget.name)


def _needs_panel(measured: Measured, budgets: Sequence[Budget]) -> Panel:
    curves = []
    for alpha, label in measured.learners():
        needs = []
        for budget in budgets:
            try:
                needs.append(measured.needed(budget.shift, alpha))
            except TooFew:
                needs.append(Estimate(math.nan, math.nan, math.nan))
        chi2 = tuple(budget.chi2 for budget in budgets)
        curves.append(_curve(label, chi2, needs, alpha is None))
    return Panel("χ²(p_true, p_0)", "n needed", tuple(curves))


def _curve(
    label: str, x: tuple[float, ...], means: Sequence[Estimate], is_reference: bool
) -> Curve:
    value, low, high = zip(*(mean[:3] for mean in means), strict=True)
    if is_reference:
        return Curve(label, x, value, look="reference")
    return Curve(label, x, value, low, high)


def _budgets_panel(budgets: Sequence[Budget]) -> Panel:
    chi2 = tuple(budget.chi2 for budget in budgets)
    least = {
        "least KL with its labels [nat]": [np.mean(b.least_kl) for b in budgets],
        "least χ² with its labels, signed": [np.mean(b.least_chi2) for b in budgets],
        "KL(p_true|p_0) [nat]": [b.kl for b in budgets],
    }
    curves = (
        Curve(label, chi2, tuple(map(float, values))) for label, values in least.items()
    )
    return Panel("χ²(p_true, p_0)", "budget [nat for KL, 1 for χ²]", tuple(curves))
