"""What is claimed of lazy training, held against what was measured."""

import numpy as np

from mfsim.findings import Verdict
from mfsim.studies.base import judge_near
from mfsim.studies.lazy_theorem.measured import (
    ABOVE,
    PLATEAU,
    QUANTITIES,
    Part,
    Plateaus,
    Quantity,
    Values,
    means,
)
from mfsim.studies.lazy_theorem.rates import LEAST_RISK, SHARE, rate_ratio
from mfsim.studies.statistics import Estimate, TooFew, bootstrap_mean, exponential

RATE_TOLERANCE = 0.05
DISPLACEMENT_TOLERANCE = 0.1
LIMIT_TOLERANCE = 0.1
"""Of the plateau beside its exact limit: noise of the mean, steps and 1/m^2."""


def verdicts(
    flow: Part, noise: Part, plateau: Part, found: Plateaus
) -> tuple[Verdict, ...]:
    """All of them."""
    return (
        _rate(flow),
        *(_exponent(flow, quantity) for quantity in QUANTITIES),
        _plateau(plateau, found),
        _limit(plateau, found),
        _raw(noise),
        _coupled(noise),
    )


def _rate(flow: Part) -> Verdict:
    return judge_near(
        f"At α = {flow.alphas[-1]:g} the training risk falls at the rate "
        f"4α²λ_min(H)/n, H of each run's own start ({flow.setting})",
        f"ratio 1 ± {RATE_TOLERANCE:g}",
        lambda: rate_ratio(flow),
        value=1,
        tolerance=RATE_TOLERANCE,
        note=f"fitted where the kernel leaves {SHARE:.0%} of its risk to the slowest "
        f"mode and the risk is above {LEAST_RISK:g} of the start's; theorem 4.4 grants "
        "at least half of this rate",
    )


def _exponent(flow: Part, quantity: Quantity) -> Verdict:
    theorem, true = quantity.exponents
    return judge_near(
        f"The {quantity.label} is a power of α, {_range(flow)} ({flow.setting})",
        f"{true:g} ± {quantity.tolerance:g}".replace("-", "−"),
        lambda: flow.exponent(flow.values(quantity)),
        value=true,
        tolerance=quantity.tolerance,
        note=f"theorem {quantity.theorem} bounds it by a power {theorem:g}".replace(
            "-", "−"
        )
        + f"; {quantity.how}; largest over time; the floor λn/2m is 0 here",
    )


def _plateau(plateau: Part, found: Plateaus) -> Verdict:
    theorem, true = PLATEAU.exponents
    return judge_near(
        f"The {PLATEAU.label} above its floor is a power of α, {_range(plateau)} "
        f"({plateau.setting})",
        f"{true:g} ± {PLATEAU.tolerance:g}".replace("-", "−"),
        lambda: plateau.exponent(found.measured),
        value=true,
        tolerance=PLATEAU.tolerance,
        note=f"theorem 4.4 bounds it by a power {theorem:g}".replace("-", "−")
        + f"; mean from t = 1.5/λ to 3/λ less the floor λn/2m = {plateau.floor:.2g}, "
        f"points below {ABOVE:g} of which are left out; the exact limits of infinitely "
        f"many neurons have {_power(plateau, found.exact)}",
    )


def _limit(plateau: Part, found: Plateaus) -> Verdict:
    def ratio() -> Estimate:
        kept = plateau.fitted() & (means(found.measured) >= plateau.floor)
        if not kept.any():
            raise TooFew("plateaus above the floor λn/2m must be 1 or more, got none")
        logs = np.log(found.measured[kept] / found.exact[kept]).mean(axis=0)
        return exponential(bootstrap_mean(logs))

    return judge_near(
        f"The {PLATEAU.label} above its floor is the exact limit of infinitely many "
        f"neurons, {_range(plateau)} ({plateau.setting})",
        f"ratio 1 ± {LIMIT_TOLERANCE:g}",
        ratio,
        value=1,
        tolerance=LIMIT_TOLERANCE,
        note="geometric mean over the α at which the plateau is above the floor; the "
        "limit is the maximum of the dual",
    )


def _raw(noise: Part) -> Verdict:
    return judge_near(
        f"With noise the raw displacement does not depend on α, {_range(noise)}, t = "
        f"1/2λ ({noise.setting})",
        f"exponent 0 ± {DISPLACEMENT_TOLERANCE:g}",
        lambda: noise.power(noise.final("displacement")),
        value=0,
        tolerance=DISPLACEMENT_TOLERANCE,
        note=f"mean {np.nanmean(noise.final('displacement')):.4g}; free neurons move "
        f"√(2D(1 − e^−½)) = {free_displacement(noise, 0.5):.4g}",
    )


def _coupled(noise: Part) -> Verdict:
    return judge_near(
        "With noise the displacement from the shadow is a power of α, "
        f"{_range(noise)}, t = 1/2λ ({noise.setting})",
        f"−1 ± {DISPLACEMENT_TOLERANCE:g}",
        lambda: noise.power(noise.final("w2_upper_coupling")),
        value=-1,
        tolerance=DISPLACEMENT_TOLERANCE,
        note="bounds W2 from above, which theorem 4.4 bounds by a power −1: noise "
        "moves the weights, not the law; training also undoes the outputs of m free "
        "neurons, of order α/√m, which adds of order 1/√m to it",
    )


def free_displacement(noise: Part, time: float) -> float:
    """sqrt(2 D (1 - exp(-lambda t))) at lambda t = `time`, of neurons without a force.

    They have sigma = 1 and D = d + 1.
    """
    dim = noise.one.dataset.load().x_train.shape[1] + 1
    return float(np.sqrt(2 * dim * -np.expm1(-time)))


def _range(part: Part) -> str:
    kept = part.alphas[part.fitted()]
    return f"α from {kept[0]:g} to {kept[-1]:g}" if kept.size else "no α"


def _power(part: Part, exact: Values) -> str:
    keep = np.isfinite(exact).all(axis=1)
    if keep.sum() < 2:
        return "too few α for a power"
    means = np.log(exact[keep]).mean(axis=1)
    return f"{np.polyfit(np.log(part.alphas[keep]), means, 1)[0]:.2f}".replace("-", "−")
