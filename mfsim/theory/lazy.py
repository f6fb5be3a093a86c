"""What is proved of the lazy regime, with every constant.

The theorems are those of Chen et al. 2020, "A Generalized Neural Tangent Kernel
Analysis for Two-layer Neural Networks" (GNTK, arXiv 2002.04026). Their constants are
too large by many orders to say much of a run, but their exponents can be tested.
"""

import math
from dataclasses import dataclass
from typing import Any

from mfsim.theory.lazy_setting import LazySetting, check_positive


@dataclass(frozen=True)
class Bound:
    """What a theorem grants, and whether that says anything.

    Fields:
        value: The bound; infinite where there is none.
        trivial_from: The value from which on it says no more than is known without it.
        statement: The theorem, and which hidden constants were set to 1.
        constants: Those that enter, by the names of the paper.
        unmet: The conditions of the theorem that fail; none where it applies.
        is_order: Whether a constant is unknown and was set to 1, so that the value is
            an order of magnitude and no bound.
    """

    value: float
    trivial_from: float
    statement: str
    constants: dict[str, float]
    unmet: tuple[str, ...]
    is_order: bool = False

    @property
    def applies(self) -> bool:
        """Whether the conditions of the theorem hold."""
        return not self.unmet

    @property
    def vacuous(self) -> bool:
        """Whether it is no bound here, or trivial."""
        holds = self.applies and not self.is_order
        return not (holds and self.value < self.trivial_from)


def risk_bound(setting: LazySetting, time: float) -> Bound:
    """The training loss L(p_t) at flow time t; trivial from L(p_0) on, as Q falls."""
    if not time >= 0:
        raise ValueError(f"time must be at least 0, got {time:g}.")
    slope = setting.alpha * setting.lambda_min_over_n
    fall = 2 * math.exp(-2 * setting.alpha * slope * time) * setting.initial_risk
    plateau = 2 * (setting.a_1 * setting.temperature / slope) ** 2
    return Bound(
        value=fall + plateau,
        trivial_from=setting.initial_risk,
        statement="GNTK 4.4: L(p_t) <= 2 exp(-2 alpha^2 t lambda_min/n) L(p_0) + "
        "2 A_1^2 lambda^2/(alpha lambda_min/n)^2",
        **_of_training(setting),
    )


def kl_bound(setting: LazySetting) -> Bound:
    """KL(p_t || p_0) at all times, in nats; trivial from L(p_0)/lambda, as Q falls."""
    drive = setting.a_2**2 * setting.initial_risk
    drive += setting.a_1**2 * setting.temperature
    return Bound(
        value=4 * drive / (setting.alpha * setting.lambda_min_over_n) ** 2,
        trivial_from=_most_kl(setting),
        statement="GNTK 4.4: KL(p_t || p_0) <= 4 (A_2^2 L(p_0) + A_1^2 lambda)"
        "/(alpha lambda_min/n)^2",
        **_of_training(setting),
    )


def w2_bound(setting: LazySetting) -> Bound:
    """W2(p_t, p_0) at all times, from `kl_bound` by Talagrand's inequality."""
    kl = kl_bound(setting)
    return Bound(
        value=setting.largest_std * math.sqrt(2 * kl.value),
        trivial_from=setting.largest_std * math.sqrt(2 * kl.trivial_from),
        statement=f"{kl.statement}, and W2^2 <= 2 max sigma^2 KL",
        constants=kl.constants,
        unmet=kl.unmet,
    )


def kernel_drift_bound(setting: LazySetting) -> Bound:
    """The order of max |H(p_t) - H(p_0)|_ik at all times.

    It is lazy below max |H(p_0)|_ik, the value that `trivial_from` holds.
    """
    return Bound(
        value=1 / (setting.alpha * setting.lambda_min_over_n),
        trivial_from=setting.largest_entry,
        statement="GNTK 4.7: max |H(p_t) - H(p_0)| = O(1/(alpha lambda_min/n)), with "
        "the constant in O set to 1",
        is_order=True,
        **_of_training(setting),
    )


def ntk_gap_bound(setting: LazySetting) -> Bound:
    """The order of (1/n)|f - f_NTK|^2; trivial from 4 L(p_0), as both losses fall."""
    return Bound(
        value=setting.alpha**-2,
        trivial_from=4 * setting.initial_risk,
        statement="GNTK 4.8: (1/n)|f - f_NTK|^2 = O(alpha^-2), with the constant in O "
        "set to 1",
        is_order=True,
        **_of_training(setting),
    )


def class_gap_bound(setting: LazySetting, kl: float, delta: float = 0.05) -> Bound:
    """E_D l - E_S l for every law with KL(p || p_0) <= `kl`, l in [0, 1], Lipschitz 1.

    Args:
        setting: Where n is the number of draws from D.
        kl: M in nats.
        delta: Probability of the draws for which it may fail.

    Raises:
        ValueError: If `kl` is not positive or `delta` not within (0, 1).
    """
    check_positive("kl", kl)
    alpha, n, b_2 = setting.alpha, setting.num_train, setting.b_2(kl)
    middle = setting.b_1 * alpha * math.sqrt(kl / n) + b_2 * alpha * kl
    return Bound(
        value=middle + 3 * _deviation(n, delta),
        trivial_from=1.0,
        statement="GNTK 4.10: E_D l <= E_S l + B_1 alpha sqrt(M/n) + B_2 alpha M + "
        "3 sqrt(log(2/delta)/2n) if KL(p || p_0) <= M",
        constants={"B_1": setting.b_1, "B_2": b_2, "M": kl, "delta": delta},
        unmet=(*_small_inputs(setting), *_at_most("M", kl, setting.most_kl)),
    )


def bounded_class_gap_bound(
    setting: LazySetting, kl: float, delta: float = 0.05
) -> Bound:
    """As `class_gap_bound`, for a bounded activation; arguments and errors as there."""
    check_positive("kl", kl)
    n, g_7 = setting.num_train, setting.smoothness.g7
    middle = 4 * setting.alpha * g_7 * setting.output_std * math.sqrt(kl / n)
    return Bound(
        value=middle + 3 * _deviation(n, delta),
        trivial_from=1.0,
        statement="GNTK 4.13: E_D l <= E_S l + 4 alpha G_7 sigma_u sqrt(M/n) + "
        "3 sqrt(log(2/delta)/2n) if KL(p || p_0) <= M",
        constants={"G_7": g_7, "M": kl, "delta": delta},
        unmet=(
            *_small_inputs(setting),
            *_bounded(setting),
            *_at_most("M", kl, 0.5),
        ),
    )


def chi2_error_bound(setting: LazySetting, chi2: float, delta: float = 0.05) -> Bound:
    """The 0-1 error at t = infinity, with labels y = E u h(w.x) of a law p_true.

    Args:
        setting: Where n is the number of draws from D.
        chi2: chi^2(p_true || p_0).
        delta: Probability of the draws for which it may fail.

    Raises:
        ValueError: If `chi2` is not positive or `delta` not within (0, 1).
    """
    check_positive("chi2", chi2)
    alpha, n = setting.alpha, setting.num_train
    # (1 - 1/alpha) p_0 + p_true/alpha has the outputs of p_true, and this KL at most.
    kl = chi2 / alpha**2
    b_2 = setting.b_2(kl)
    least = math.sqrt(n * chi2) * max(2 * math.sqrt(setting.temperature), 1.0)
    return Bound(
        value=2 * (setting.b_1 + b_2) * math.sqrt(chi2 / n) + 6 * _deviation(n, delta),
        trivial_from=1.0,
        statement="GNTK 4.11: error <= 2 (B_1 + B_2) sqrt(chi^2/n) + "
        "6 sqrt(log(2/delta)/2n), with B_2 at M = chi^2/alpha^2",
        constants={"B_1": setting.b_1, "B_2": b_2, "M": kl, "delta": delta},
        unmet=(
            *_small_inputs(setting),
            *_at_least("alpha", alpha, max(least, 1.0)),
            *_at_most("M", kl, setting.most_kl),
        ),
    )


def kl_error_bound(setting: LazySetting, kl: float, delta: float = 0.05) -> Bound:
    """As `chi2_error_bound`, by KL(p_true || p_0) and for a bounded activation."""
    check_positive("kl", kl)
    alpha, n, g_7 = setting.alpha, setting.num_train, setting.smoothness.g7
    middle = 8 * g_7 * setting.output_std * math.sqrt(alpha * kl / n)
    most = alpha / (4 * n * kl)
    return Bound(
        value=middle + 6 * _deviation(n, delta),
        trivial_from=1.0,
        statement="GNTK 4.14: error <= 8 G_7 sigma_u sqrt(alpha KL/n) + "
        "6 sqrt(log(2/delta)/2n)",
        constants={"G_7": g_7, "KL": kl, "delta": delta},
        unmet=(
            *_small_inputs(setting),
            *_bounded(setting),
            *_at_most("lambda", setting.temperature, most),
            *_at_least("alpha", alpha, max(2 * kl, 1.0)),
        ),
    )


def _most_kl(setting: LazySetting) -> float:
    if setting.temperature == 0:
        return math.inf
    return setting.initial_risk / setting.temperature


def _of_training(setting: LazySetting) -> dict[str, Any]:
    """What the theorems on the training share."""
    constants = {
        "A_1": setting.a_1,
        "A_2": setting.a_2,
        "R": setting.radius,
        "lambda_min/n": setting.lambda_min_over_n,
    }
    alpha = _at_least("alpha", setting.alpha, setting.least_alpha)
    return {"constants": constants, "unmet": (*_small_inputs(setting), *alpha)}


def _deviation(samples: int, delta: float) -> float:
    """sqrt(log(2/delta)/2n)."""
    if not 0 < delta < 1:
        raise ValueError(f"delta must be within (0, 1), got {delta:g}.")
    return math.sqrt(math.log(2 / delta) / (2 * samples))


def _small_inputs(setting: LazySetting) -> tuple[str, ...]:
    # Inputs divided by their norms are of norm 1 to rounding.
    return _at_most("max |x|", setting.input_norm, 1.0 + 1e-9)


def _bounded(setting: LazySetting) -> tuple[str, ...]:
    if math.isfinite(setting.smoothness.g7):
        return ()
    return (f"h must be bounded, got {type(setting.activation).__name__}",)


def _at_least(name: str, value: float, least: float) -> tuple[str, ...]:
    if value >= least:
        return ()
    return (f"{name} must be at least {least:.4g}, got {value:.4g}",)


def _at_most(name: str, value: float, most: float) -> tuple[str, ...]:
    if value <= most:
        return ()
    return (f"{name} must be at most {most:.4g}, got {value:.4g}",)
