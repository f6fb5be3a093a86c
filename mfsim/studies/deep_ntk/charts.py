"""The study's pictures."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mfsim.findings import Chart, Curve, Panel
from mfsim.studies.deep_ntk.bounds import Bounded, whole_widths
from mfsim.studies.deep_ntk.kernels import Starts
from mfsim.studies.deep_ntk.quantities import (
    KERNEL,
    NUM_RESAMPLES,
    QUANTITIES,
    TEST_TWIN,
    Part,
    Quantity,
    Values,
)
from mfsim.studies.deep_ntk.verdicts import number
from mfsim.studies.statistics import (
    Estimate,
    TooFew,
    drawn_mean,
    geometric_mean,
    local_exponents,
    log_log_slope,
)

WIDTH = "width m (1)"
TIME = "kernel time m^(2a)·t (1)"
BARS = "Bars are 95 % intervals of the geometric mean over seeds."
Line = Float[np.ndarray, " points"]


def charts(
    parts: Sequence[Part], kernels: Sequence[Starts], bounds: Sequence[Bounded]
) -> tuple[Chart, ...]:
    """All of them; what is of one depth is of the middle one."""
    one = parts[len(parts) // 2]
    return (
        _powers(parts),
        _local(parts),
        _by_exponent(parts),
        _scales(one),
        _twin(one),
        _starts(kernels),
        _bounds(bounds),
    )


def _powers(parts: Sequence[Part]) -> Chart:
    a = parts[0].exponents[-1]

    def panel(quantity: Quantity) -> Panel:
        curves: list[Curve] = []
        for part in quantity.of(parts):
            label, values = f"L = {part.depth}", part.values(quantity, a)
            curves += fitted(label, part.widths, values)
        title = f"predicted: m^{number(quantity.power(a))}"
        return Panel(WIDTH, _label(quantity), tuple(curves), title)

    return Chart(
        "deep_ntk_powers",
        f"What training changes against the width, largest over time; dashed, the "
        f"fitted powers. {BARS} a = {a:g}, {parts[0].setting}.",
        tuple(map(panel, QUANTITIES)),
    )


def _local(parts: Sequence[Part]) -> Chart:
    a = parts[0].exponents[-1]

    def panel(quantity: Quantity) -> Panel:
        curves = []
        for part in quantity.of(parts):
            found = local_exponents(part.widths, part.values(quantity, a))
            means = [drawn_mean(row, num_resamples=NUM_RESAMPLES) for row in found[1]]
            curves.append(_bars(f"L = {part.depth}", found[0], means))
        ends, power = parts[0].widths[[0, -1]], quantity.power(a)
        curves.append(_reference("predicted", ends, np.full(2, power)))
        label = f"local exponent, {quantity.short} (1)"
        return Panel(WIDTH, label, tuple(curves), y_scale="linear")

    return Chart(
        "deep_ntk_local_exponents",
        "Local exponents dlog X/dlog m between neighbouring widths; dashed, what is "
        "predicted of large m. Bars are 95 % intervals of the mean over seeds. "
        f"a = {a:g}, {parts[0].setting}.",
        tuple(map(panel, QUANTITIES)),
    )


def _by_exponent(parts: Sequence[Part]) -> Chart:
    places = np.array(parts[0].exponents)

    def panel(quantity: Quantity) -> Panel:
        curves = []
        for part in quantity.of(parts):
            found = [_attempt(part, quantity, a) for a in part.exponents]
            curves.append(_bars(f"L = {part.depth}", places, found))
        powers = np.array([quantity.power(a) for a in places])
        curves.append(_reference("predicted", places, powers))
        label = f"power of m, {quantity.short} (1)"
        return Panel(
            "scale exponent a (1)",
            label,
            tuple(curves),
            x_scale="linear",
            y_scale="linear",
        )

    return Chart(
        "deep_ntk_exponents",
        "Powers of m fitted over all widths against the exponent a of the output scale "
        "m^a; dashed, what is predicted of large m^a. Bars are 95 % intervals. "
        f"{parts[0].setting}.",
        tuple(map(panel, QUANTITIES)),
    )


def _scales(part: Part) -> Chart:
    def panel(quantity: Quantity) -> Panel:
        curves = []
        for a in part.exponents:
            means = [
                geometric_mean(row, num_resamples=NUM_RESAMPLES)
                for row in part.values(quantity, a)
            ]
            curves.append(_bars(f"a = {a:g}", part.widths**a, means))
        return Panel("output scale m^a (1)", _label(quantity), tuple(curves))

    return Chart(
        "deep_ntk_scale",
        "Change of the kernel and distance from the twin against the output scale m^a: "
        f"curves of all a would be one if it alone mattered. {BARS} L = {part.depth}, "
        f"{part.setting}.",
        (panel(KERNEL), panel(TEST_TWIN)),
    )


def _twin(part: Part) -> Chart:
    a = part.exponents[-1]

    def panel(series: str, label: str) -> Panel:
        curves = []
        for width in part.runs.width.values:
            run = part.runs.sel(width=width, exponent=a).isel(save=slice(1, None))
            means = [
                geometric_mean(row, num_resamples=NUM_RESAMPLES)
                for row in run[series].values.T
            ]
            times = run.kernel_time.mean("seed").values
            curves.append(_bars(f"m = {width:g}", times, means))
        return Panel(TIME, label, tuple(curves))

    return Chart(
        "deep_ntk_twin",
        "Mean square distance of the outputs from those of the linearised twin over "
        f"time. {BARS} L = {part.depth}, a = {a:g}, {part.setting}.",
        (
            panel("twin_gap", "training, |f − f_lin|²/n (output²)"),
            panel("test_twin_gap", "test, |f − f_lin|²/n (output²)"),
        ),
    )


def _starts(kernels: Sequence[Starts]) -> Chart:
    curves: list[Curve] = []
    for each in kernels:
        curves += fitted(f"L = {each.depth}", each.widths, each.distances)
    seeds = kernels[0].distances.shape[1]
    return Chart(
        "deep_ntk_starts",
        "Distance of the tangent kernel at the start from that of infinite width; "
        f"dashed, the fitted powers, −1/2 predicted. {BARS} {seeds} seeds.",
        (Panel(WIDTH, "|Θ_m − Θ|_F/|Θ|_F (1)", tuple(curves)),),
    )


def _bounds(bounds: Sequence[Bounded]) -> Chart:
    def panel(each: Bounded) -> Panel:
        widths = np.array(each.widths, float)
        wide = whole_widths(1, 64 * each.widths[-1])
        errors = each.mean(lambda run: run.test_error)
        curves = (
            _line("test error", widths, np.where(errors > 0, errors, np.nan)),
            _line("HMO 3.5", widths, each.mean(lambda run: run.bound.value)),
            _reference(f"HMO 3.5 at R = {each.radius:.3g}", wide, each.curve(wide)),
            _reference("vacuous from 1 on", wide[[0, -1]], np.ones(2)),
        )
        return Panel(WIDTH, "test error, bound (1)", curves, f"L = {each.depth}")

    return Chart(
        "deep_ntk_bounds",
        "Test error of gradient descent on the logistic loss and the bound of HMO 3.5 "
        "at the R and L_S of each run, constants in O set to 1: it first rises with m "
        f"and then falls. Means over seeds, a = 1/2, {bounds[0].setting}.",
        tuple(map(panel, bounds)),
    )


def fitted(label: str, widths: Line, values: Values) -> list[Curve]:
    """Geometric means with their intervals, and the line of the fitted power."""
    means = [geometric_mean(row, num_resamples=NUM_RESAMPLES) for row in values]
    curve = _bars(label, widths, means)
    try:
        power = log_log_slope(widths, values, num_resamples=1).value
    except TooFew:
        return [curve]
    logs = np.log(widths) - np.log(widths).mean()
    level = np.nanmean(np.log([mean.value for mean in means]))
    line = np.exp(level + power * logs)
    return [curve, _reference(f"m^{number(round(power, 2))}", widths, line)]


def _attempt(part: Part, quantity: Quantity, exponent: float) -> Estimate:
    try:
        return part.power(quantity, exponent)
    except TooFew:
        return Estimate(np.nan, np.nan, np.nan)


def _label(quantity: Quantity) -> str:
    return f"{quantity.short} ({quantity.unit})"


def _bars(label: str, x: Line, means: Sequence[Estimate]) -> Curve:
    value, low, high = (tuple(float(mean[end]) for mean in means) for end in range(3))
    if not np.isfinite(low).any():
        return Curve(label, _tuple(x), value)
    return Curve(label, _tuple(x), value, low, high)


def _line(label: str, x: Line, y: Line) -> Curve:
    return Curve(label, _tuple(x), _tuple(y))


def _reference(label: str, x: Line, y: Line) -> Curve:
    return Curve(label, _tuple(x), _tuple(y), look="reference")


def _tuple(values: Line) -> tuple[float, ...]:
    return tuple(np.asarray(values, dtype=float).tolist())
