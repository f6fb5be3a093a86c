"""The claims of the regimes, held against what was measured."""

from collections.abc import Callable, Sequence

import numpy as np

from mfsim.findings import Verdict
from mfsim.studies.base import judge, judge_near
from mfsim.studies.regimes.budgets import Budget
from mfsim.studies.regimes.measured import Measured, ratio
from mfsim.studies.statistics import Estimate, bootstrap_mean, difference, exponential

KERNEL_TOLERANCE = 0.25
"""How far the n that is needed at alpha = sqrt(m) may be from the kernel's."""


def verdicts(
    measured: Measured, budgets: Sequence[Budget], setting: str
) -> tuple[Verdict, ...]:
    """Errors at the largest chi^2, then n needed there, and how it grew."""
    return (
        *_at_the_largest(measured, budgets[-1], setting),
        *_growth(measured, budgets, setting),
        _is_its_kernel(measured, budgets[-1], setting),
        _cheap_labels(budgets),
    )


def _at_the_largest(
    measured: Measured, budget: Budget, setting: str
) -> tuple[Verdict, ...]:
    shift, size, level = measured.shifts[-1], measured.sizes[-1], measured.level
    small, large = measured.alphas
    where = f"at {budget.name} ({setting})"

    def errors() -> Estimate:
        few, many = (np.log(measured.curve(shift, a)[-1]) for a in (small, large))
        return exponential(difference(many, few, paired=True))

    def needs() -> Estimate:
        return ratio(measured.needed(shift, large), measured.needed(shift, small))

    return (
        judge(
            f"Test error at α = {large:.3g} over that at α = 1, n = {size}, {where}",
            "above 1",
            errors,
            lambda found: found.low > 1,
        ),
        judge(
            f"The n at which test error/Var y falls through {level:g} at α = "
            f"{large:.3g} over that at α = 1, {where}",
            "above 1",
            needs,
            lambda found: found.low > 1,
        ),
    )


def _growth(
    measured: Measured, budgets: Sequence[Budget], setting: str
) -> tuple[Verdict, ...]:
    """Of the n needed, from the least chi^2 to the largest."""
    small, large = measured.alphas
    grown = f"from {budgets[0].name} to {budgets[-1].name} ({setting})"
    at_large = f"Growth of the n needed at α = {large:.3g} {grown}"

    def growth(alpha: float) -> Estimate:
        first, last = measured.shifts[0], measured.shifts[-1]
        return ratio(measured.needed(last, alpha), measured.needed(first, alpha))

    return (
        judge(
            at_large,
            "above 1",
            lambda: growth(large),
            lambda found: found.low > 1,
            "GNTK 4.11 knows of p_true its χ² alone; see the table of bounds",
        ),
        *_small_growth(f"Growth of the n needed at α = 1 {grown}", growth, budgets),
        judge(
            f"{at_large}, over that at α = 1",
            "above 1",
            lambda: ratio(growth(large), growth(small)),
            lambda found: found.low > 1,
        ),
    )


def _small_growth(
    claim: str, growth: Callable[[float], Estimate], budgets: Sequence[Budget]
) -> tuple[Verdict, ...]:
    """At alpha = 1, by itself and beside that of KL over Var y."""
    first, last = (budget.kl / budget.variance for budget in (budgets[0], budgets[-1]))
    rise = last / first
    return (
        judge(
            claim,
            "1: flat",
            lambda: growth(1.0),
            lambda found: found.low <= 1 <= found.high,
            f"at fixed KL the outputs shrink: KL/Var y grows {rise:.3g}-fold",
        ),
        judge(
            f"{claim}, over that of KL/Var y",
            "at most 1",
            lambda: ratio(growth(1.0), Estimate(rise, rise, rise)),
            lambda found: found.high <= 1,
            "GNTK 4.13: laws of KL ≤ M have the complexity 4 G_7 σ_u √(M/n), here "
            "against outputs of size √Var y",
        ),
    )


def _is_its_kernel(measured: Measured, budget: Budget, setting: str) -> Verdict:
    shift, large = measured.shifts[-1], measured.alphas[-1]
    return judge_near(
        f"The n needed at α = {large:.3g} over that of the kernel H(p_0) at t = ∞, "
        f"at {budget.name} ({setting})",
        f"1 ± {KERNEL_TOLERANCE:g}",
        lambda: ratio(measured.needed(shift, large), measured.needed(shift, None)),
        value=1,
        tolerance=KERNEL_TOLERANCE,
        note="were it more, the horizon or the width would be what it lacks",
    )


def _cheap_labels(budgets: Sequence[Budget]) -> Verdict:
    budget = budgets[-1]
    return judge(
        f"Least KL of any law with the labels of the teacher at {budget.name} on "
        f"{budget.points} points, in nats",
        f"at most {budget.kl:.3g}, the teacher's",
        lambda: bootstrap_mean(budget.least_kl),
        lambda found: found.high <= budget.kl,
        "so it is by definition, as the teacher is such a law: a check of the "
        "estimator, a confidence limit from below; the least χ² of a signed density is "
        f"{np.mean(budget.least_chi2):.3g}",
    )
