"""The study's tables: exponents, rates, limits, plateaus, bounds and constants."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from mfsim.findings import Cell, Table
from mfsim.studies.lazy_theorem.measured import (
    PLATEAU,
    QUANTITIES,
    Part,
    Plateaus,
    Quantity,
    Values,
)
from mfsim.studies.lazy_theorem.rates import rates
from mfsim.studies.statistics import Estimate, TooFew, geometric_mean
from mfsim.theory import (
    Bound,
    LazySetting,
    early_limits,
    kernel_drift_bound,
    kl_bound,
    ntk_gap_bound,
    prior_kernels,
    risk_bound,
    w2_bound,
)

Row = tuple[Cell, ...]
BOUNDS: dict[str, Callable[[LazySetting], Bound]] = {
    "kl": kl_bound,
    "w2": w2_bound,
    "kernel_drift": kernel_drift_bound,
    "ntk_gap": ntk_gap_bound,
}
_SAMPLES = 32768
"""Draws of w for K_A, where n and d are above three."""


def tables(
    flow: Part, noise: Part, plateau: Part, found: Plateaus
) -> tuple[Table, ...]:
    """All of them."""
    return (
        _exponents(flow, noise, plateau, found),
        _rates(flow),
        _limits(flow),
        _plateaus(plateau, found),
        _bounds(flow, plateau, found),
        _constants(flow, plateau),
    )


def _exponents(flow: Part, noise: Part, plateau: Part, found: Plateaus) -> Table:
    rows = [_power_row(flow, each, flow.values(each)) for each in QUANTITIES]
    rows += [_power_row(noise, each, noise.values(each)) for each in QUANTITIES]
    rows.append(_power_row(plateau, PLATEAU, found.measured))
    return Table(
        "lazy_exponents",
        "Powers of α: measured, true of the law of infinitely many neurons, and in the "
        "theorem's bound",
        ("quantity", "λ", "m", "α", "power", "low", "high", "true", "bound", "note"),
        tuple(rows),
    )


def _power_row(part: Part, quantity: Quantity, values: Values) -> Row:
    try:
        power = part.exponent(values)
    except TooFew as error:
        power = Estimate(np.nan, np.nan, np.nan, str(error))
    kept = part.alphas[part.fitted()]
    span = f"{kept[0]:g} to {kept[-1]:g}" if kept.size else ""
    theorem, true = quantity.exponents
    return (
        quantity.label,
        float(part.one.temperature),
        float(part.one.network.width),
        span,
        *power[:3],
        float(true),
        float(theorem),
        power.warning,
    )


def _rates(flow: Part) -> Table:
    def rows() -> Iterator[Row]:
        for place, alpha in enumerate(flow.alphas):
            for seed, rate in zip(flow.seeds, rates(flow, place), strict=True):
                ratio = rate.measured / rate.predicted
                yield (
                    float(alpha),
                    float(seed),
                    rate.lambda_min,
                    rate.predicted,
                    rate.measured,
                    ratio,
                    rate.start,
                    rate.end,
                )

    return Table(
        "lazy_rates",
        "Decay rate of the training risk per unit of kernel time τ = α²t, "
        f"{flow.setting}",
        (
            "α",
            "seed",
            "λ_min(H)",
            "4λ_min/n",
            "measured",
            "ratio",
            "from τ",
            "to τ",
        ),
        tuple(rows()),
    )


def _limits(flow: Part) -> Table:
    alpha, rows = float(flow.alphas[-1]), []
    series = ("kl_upper", "w2_lower", "w2", "w2_upper_coupling")
    last = {name: flow.final(name)[-1] for name in series}
    for number, seed in enumerate(flow.seeds):
        of = flow.flow(alpha, seed)
        data = of.dataset.load()
        kernels = prior_kernels(
            of.network, data.x_train, key=jax.random.key(seed), num_samples=_SAMPLES
        )
        limit = early_limits(data.y_train, kernels.tangent, kernels.generator)
        kl, *distances = (float(last[name][number]) for name in series)
        scaled = [alpha * each for each in distances]
        rows.append((float(seed), alpha**2 * kl, limit.kl, *scaled, limit.w2))
    return Table(
        "lazy_limits",
        f"Prefactors at α = {alpha:g} beside their limits for infinitely many neurons, "
        f"½yᵀH⁻¹K_A H⁻¹y and √(yᵀH⁻¹y), {flow.setting}",
        (
            "seed",
            "α²KL (nat)",
            "limit (nat)",
            "αW2⁻ (parameter)",
            "αW2",
            "αW2⁺, coupling",
            "limit (parameter)",
        ),
        tuple(rows),
    )


def _plateaus(plateau: Part, found: Plateaus) -> Table:
    rows = []
    for place, alpha in enumerate(map(float, plateau.alphas)):
        mean = geometric_mean(found.measured[place])
        exact = geometric_mean(found.exact[place]).value
        rows.append(
            (
                alpha,
                *mean[:3],
                exact,
                geometric_mean(found.leading[place]).value,
                plateau.floor,
                risk_bound(_setting(plateau, alpha), np.inf).value,
            )
        )
    return Table(
        "lazy_plateau",
        f"Loss plateau above its floor, geometric means over seeds, {plateau.setting}",
        (
            "α",
            "measured (loss)",
            "low",
            "high",
            "exact limit",
            "nλ²|K_u⁻¹y|²/4α⁴",
            "floor λn/2m",
            "bound of 4.4, first seed",
        ),
        tuple(rows),
    )


def _bounds(flow: Part, plateau: Part, found: Plateaus) -> Table:
    rows = []
    for quantity in QUANTITIES:
        measured = flow.values(quantity)[:, 0]
        bounds = [BOUNDS[quantity.name](_setting(flow, a)) for a in flow.alphas]
        rows += _bound_rows(quantity.label, flow.alphas, measured, bounds)
    bounds = [risk_bound(_setting(plateau, a), np.inf) for a in plateau.alphas]
    rows += _bound_rows(PLATEAU.label, plateau.alphas, found.measured[:, 0], bounds)
    return Table(
        "lazy_bounds",
        "The theorems' bounds beside what was measured, first seed; constants in "
        "lazy_constants",
        ("quantity", "α", "measured", "bound", "trivial from", "says", "statement"),
        tuple(rows),
    )


def _bound_rows(
    label: str, alphas: np.ndarray, measured: np.ndarray, bounds: list[Bound]
) -> Iterator[Row]:
    for alpha, value, bound in zip(alphas, measured, bounds, strict=True):
        says = "vacuous" if bound.vacuous else "a bound"
        if bound.is_order:
            says = "vacuous: an order, its constant set to 1"
        elif bound.unmet:
            says = f"vacuous: {', '.join(bound.unmet)}"
        yield (
            label,
            float(alpha),
            float(value),
            bound.value,
            bound.trivial_from,
            says,
            bound.statement,
        )


def _constants(*parts: Part) -> Table:
    rows = []
    for part in parts:
        alpha = float(part.alphas[-1])
        setting = _setting(part, alpha)
        rows.append(
            (
                float(part.one.temperature),
                float(setting.num_train),
                setting.lambda_min_over_n,
                setting.initial_risk,
                setting.a_1,
                setting.a_2,
                setting.radius,
                alpha,
                setting.least_alpha,
            )
        )
    return Table(
        "lazy_constants",
        "Constants of GNTK 4.4, first seed, and the α from which it applies, "
        "8√(A_2²L(p_0) + A_1²λ)/(λ_0²R) with λ_0² = λ_min(H(p_0))/n",
        (
            "λ",
            "n",
            "λ_min(H(p_0))/n",
            "L(p_0)",
            "A_1",
            "A_2",
            "R",
            "largest α here",
            "applies from α",
        ),
        tuple(rows),
    )


def _setting(part: Part, alpha: float) -> LazySetting:
    return LazySetting.of(part.flow(float(alpha), part.seeds[0]))
