"""The study's pictures."""

import numpy as np
from jaxtyping import Float

from mfsim.findings import Chart, Curve, Panel
from mfsim.studies.lazy_theorem.measured import (
    PLATEAU,
    QUANTITIES,
    Part,
    Plateaus,
    Quantity,
    Values,
)
from mfsim.studies.lazy_theorem.rates import rates
from mfsim.studies.lazy_theorem.verdicts import free_displacement
from mfsim.studies.statistics import geometric_mean

SCALE = "scale α (1)"
BARS = "Bars are 95 % intervals of the geometric mean over seeds."
Line = Float[np.ndarray, " points"]


def charts(
    flow: Part, noise: Part, plateau: Part, found: Plateaus
) -> tuple[Chart, ...]:
    """All of them."""
    return (
        _exponents(flow),
        _training(flow),
        _plateau(plateau, found),
        _displacement(noise),
    )


def _exponents(flow: Part) -> Chart:
    return Chart(
        "lazy_exponents",
        "KL, W2, kernel drift and NTK gap, largest over time, against α; dashed, the "
        f"true power and the theorem's. {BARS} Gradient flow, tanh, {flow.setting}.",
        tuple(_power_panel(flow, quantity) for quantity in QUANTITIES),
    )


def _power_panel(flow: Part, quantity: Quantity) -> Panel:
    values = flow.values(quantity)
    curves = [mean_curve("measured", flow.alphas, values)]
    curves += _powers(flow.alphas, curves[0].y, quantity)
    return Panel(SCALE, f"{quantity.label} ({quantity.unit})", tuple(curves))


def _powers(alphas: Line, values: tuple[float, ...], quantity: Quantity) -> list[Curve]:
    """The true power through the last point, and the theorem's through the first."""
    theorem, true = quantity.exponents
    word = "true and theorem" if theorem == true else "true"
    curves = [_power(word, true, alphas, alphas[-1], values[-1])]
    if theorem != true:
        curves.append(_power("theorem", theorem, alphas, alphas[0], values[0]))
    return curves


def _power(word: str, power: int, alphas: Line, place: float, value: float) -> Curve:
    label = f"α^{power}, {word}".replace("-", "−")
    return _reference(label, alphas, value * (alphas / place) ** float(power))


def _training(flow: Part) -> Chart:
    curves = []
    for alpha in flow.alphas:
        run = flow.runs.sel(alpha=alpha).isel(seed=0)
        curves.append(
            _line(f"α = {alpha:g}", run.kernel_time.values, run.train_risk.values)
        )
    rate, largest = rates(flow, -1)[0], flow.runs.isel(alpha=-1, seed=0)
    if np.isfinite(rate.measured):
        time, risk = largest.kernel_time.values, largest.train_risk.values
        inside = (time >= rate.start) & (time <= rate.end)
        start = risk[inside][0]
        slowest = start * np.exp(-rate.predicted * (time[inside] - rate.start))
        curves.append(_reference("slope −4λ_min(H)/n", time[inside], slowest))
    panel = Panel(
        "kernel time τ = α²t (1)",
        "training risk (loss)",
        tuple(curves),
        x_scale="linear",
    )
    return Chart(
        "lazy_training",
        "Training risk against kernel time; dashed, the slope that λ_min of the first "
        f"kernel sets, in the window of the fit. First seed, {flow.setting}.",
        (panel,),
    )


def _plateau(plateau: Part, found: Plateaus) -> Chart:
    alphas = plateau.alphas
    kept = np.isfinite(found.exact).any(axis=1)
    curves = [mean_curve("measured, less the floor", alphas, found.measured)]
    means = [geometric_mean(row).value for row in found.leading]
    curves.append(_reference("nλ²|K_u⁻¹y|²/4α⁴", alphas, np.array(means)))
    if kept.any():
        exact = [geometric_mean(row).value for row in found.exact[kept]]
        curves.append(_line("exact limit", alphas[kept], np.array(exact)))
    bound = curves[0].y[0] * (alphas / alphas[0]) ** float(PLATEAU.exponents.theorem)
    curves.append(_reference("α^−2, theorem", alphas, bound))
    curves.append(_reference("floor λn/2m", alphas, 0 * alphas + plateau.floor))
    return Chart(
        "lazy_plateau",
        "Loss plateau of long runs less the floor that the noise of m neurons leaves, "
        "beside the exact limit of infinitely many and its leading term. "
        f"{BARS} Tanh, {plateau.setting}.",
        (Panel(SCALE, f"{PLATEAU.label} (loss)", tuple(curves)),),
    )


def _displacement(noise: Part) -> Chart:
    by_time = []
    for place in sorted({0, len(noise.alphas) // 2, len(noise.alphas) - 1}):
        run, alpha = noise.runs.isel(alpha=place, seed=0), noise.alphas[place]
        for series, word in _MOVED.items():
            moved = run[series].where(run.step > 0).values
            by_time.append(_line(f"{word}, α = {alpha:g}", run.time.values, moved))
    temperature = float(noise.one.temperature)
    times = np.geomspace(1e-3, 0.5, 40)
    free = np.array([free_displacement(noise, time) for time in times])
    by_time.append(_reference("free neurons", times / temperature, free))
    by_alpha = [
        mean_curve(word, noise.alphas, noise.final(series))
        for series, word in _MOVED.items()
    ]
    end = by_alpha[1].y[-1] * noise.alphas[-1] / noise.alphas
    by_alpha.append(_reference("α^−1", noise.alphas, end))
    label = "root mean square distance (parameter)"
    return Chart(
        "lazy_displacement",
        "Noise moves the weights, not the law: distance of neurons from their start "
        "(raw) and from their shadow, free neurons of the same start and noise "
        f"(coupled). Left, the first seed; right, at t = 1/2λ. {BARS} Tanh, "
        f"{noise.setting}.",
        (
            Panel("flow time t (1)", label, tuple(by_time), "against time"),
            Panel(SCALE, label, tuple(by_alpha), "at t = 1/2λ"),
        ),
    )


_MOVED = {"displacement": "raw", "w2_upper_coupling": "coupled"}


def mean_curve(label: str, x: Line, values: Values) -> Curve:
    """Geometric means over seeds with their intervals."""
    means = [geometric_mean(row) for row in values]
    value, low, high = zip(*(mean[:3] for mean in means), strict=True)
    if not np.isfinite(low).any():
        return Curve(label, _tuple(x), value)
    return Curve(label, _tuple(x), value, low, high)


def _line(label: str, x: Line, y: Line) -> Curve:
    there = np.isfinite(x) & np.isfinite(y)
    return Curve(label, _tuple(x[there]), _tuple(y[there]), look="line")


def _reference(label: str, x: Line, y: Line) -> Curve:
    return Curve(label, _tuple(x), _tuple(y), look="reference")


def _tuple(values: Line) -> tuple[float, ...]:
    return tuple(np.asarray(values, dtype=float).tolist())
