"""The claims of CG and HMO on online SGD, held against what was measured."""

import math

import numpy as np
import xarray

from mfsim.findings import Verdict
from mfsim.studies.base import judge
from mfsim.studies.statistics import (
    Estimate,
    TooFew,
    bootstrap_mean,
    difference,
    exponential,
    log_log_slope,
    slope,
)

MOST_GAP = 1e-6
"""To which the least losses of the balls are to be certified."""


def error_bounds(found: xarray.Dataset) -> dict[str, xarray.DataArray]:
    """What each theorem grants each run, a 0-1 error; of CG 3.3 the least over R."""
    return {
        "CG 3.3": found.ntrf_bound.min("radius"),
        "CG 3.10": found.kernel_bound,
        "HMO 3.8": found.sgd_bound,
    }


def verdicts(found: xarray.Dataset, radius: float, setting: str) -> tuple[Verdict, ...]:
    """Bounds on every run, then what widths and labels do at each depth.

    Args:
        found: What was measured and granted.
        radius: R of the balls whose loss is compared between widths.
        setting: What all runs share.
    """
    parts = [found.sel(depth=depth) for depth in found.depth.values]
    by_depth = [
        verdict
        for part in parts
        for verdict in (*_widths(part, radius, setting), *_labels(part, setting))
    ]
    return (*_bounds(found, setting), _regret(found, setting), _gap(found), *by_depth)


def _bounds(found: xarray.Dataset, setting: str) -> list[Verdict]:
    error = np.maximum(found.online_error, found.drawn_error)
    return [
        _is_bound(
            f"{name} bounds the online error and the test error of Ŵ: the largest "
            f"error over its bound of any run ({_extent(found)}, {setting})",
            error,
            bound,
            trivial_from=1.0,
            trivial="1 or more",
        )
        for name, bound in error_bounds(found).items()
    ]


def _regret(found: xarray.Dataset, setting: str) -> Verdict:
    return _is_bound(
        "The regret of online gradient descent, the step of CG 3.3's proof that hides "
        "no constant, bounds the online risk: the largest risk over min_R [NTRF loss "
        f"+ L R²/(2nτ) + τ tr Θ/2n], τ = m^2a η, of any run ({_extent(found)}, "
        f"{setting})",
        found.online_risk,
        found.regret_bound,
        trivial_from=math.log(2),
        trivial="log 2, the loss of f = 0, or more",
    )


def _is_bound(
    claim: str,
    value: xarray.DataArray,
    bound: xarray.DataArray,
    *,
    trivial_from: float,
    trivial: str,
) -> Verdict:
    ratio = value / bound
    runs = int(ratio.notnull().sum())
    vacuous = int((bound >= trivial_from).where(ratio.notnull(), False).sum())

    def largest() -> Estimate:
        if not runs:
            raise TooFew("runs must be 1 or more, got none")
        return Estimate(float(ratio.max()), math.nan, math.nan)

    says = "" if vacuous < runs else "; it says nothing here"
    return judge(
        claim,
        "at most 1",
        largest,
        lambda ratio: ratio.value <= 1,
        f"{runs} runs; vacuous ({trivial}) on {vacuous} of them{says}",
    )


def _gap(found: xarray.Dataset) -> Verdict:
    return judge(
        "Largest duality gap of the NTRF losses",
        f"at most {MOST_GAP:g}",
        lambda: Estimate(float(found.gap.max()), math.nan, math.nan),
        lambda gap: gap.value <= MOST_GAP,
        f"{found.gap.size} starts, {found.sizes['radius']} or more R each",
    )


def _widths(part: xarray.Dataset, radius: float, setting: str) -> list[Verdict]:
    """What the width does at the largest n."""
    most = part.isel(size=-1)
    widths = most.width.values.astype(float)
    where = (
        f"L = {int(part.depth)}, n = {int(most['size'])}, m = {widths[0]:g} … "
        f"{widths[-1]:g}, {setting}"
    )
    found = []
    for labels in part.labels.values:
        runs = most.sel(labels=labels).transpose("width", "seed", ...)
        error, loss = runs.online_error, runs.ntrf_loss.sel(radius=radius)
        found += [
            judge(
                f"What a doubling of m adds to the online error on {labels} labels "
                f"({where})",
                "0 within the interval",
                lambda error=error: _per_doubling(widths, error.values),
                lambda change: change.low <= 0 <= change.high,
                f"mean {float(error.mean()):.3g}",
            ),
            judge(
                f"The NTRF loss at R = {radius:g} goes as m^s on {labels} labels "
                f"({where})",
                "s = 0 within the interval, which ends below 1/2",
                lambda loss=loss: log_log_slope(widths, loss.values),
                lambda s: s.low <= 0 <= s.high < 0.5,
                "CG 3.3 knows no m; a bound by norms, as the first of HMO 3.5, has √m",
            ),
        ]
    return found


def _per_doubling(widths: np.ndarray, values: np.ndarray) -> Estimate:
    # A line through what is flat has nothing to fit: its residual is no warning.
    return slope(np.log2(widths), values)._replace(warning="")


def _labels(part: xarray.Dataset, setting: str) -> list[Verdict]:
    """Random labels beside true ones at the largest n; a draw is its mean over m."""
    most = part.isel(size=-1).mean("width")
    most["least_bound"] = most.ntrf_bound.min("radius")
    size = int(part["size"][-1])
    where = f"L = {int(part.depth)}, n = {size}, mean over m, {setting}"
    mean = most.classifiability.mean("seed")
    means = [f"{float(mean.sel(labels=name)):.3g}" for name in ("random", "true")]
    return [
        _ratio("Classifiability", most.classifiability, where, " over ".join(means)),
        _ratio("CG 3.3, least over R,", most.least_bound, where, _ends(part)),
        *_errors(most.online_error, where),
    ]


def _ratio(name: str, array: xarray.DataArray, where: str, note: str) -> Verdict:
    def ratio() -> Estimate:
        ratios = array.sel(labels="random") / array.sel(labels="true")
        return exponential(bootstrap_mean(np.log(ratios.values)))

    return judge(
        f"{name} of random labels over that of true ones ({where})",
        "above 1",
        ratio,
        lambda found: found.low > 1,
        note,
    )


def _errors(error: xarray.DataArray, where: str) -> list[Verdict]:
    true, random = (error.sel(labels=name).values for name in ("true", "random"))
    return [
        judge(
            f"Online error of true labels less that of random ones ({where})",
            "below 0",
            lambda: difference(true, random, paired=True),
            lambda found: found.high < 0,
        ),
        judge(
            f"Online error of random labels ({where})",
            "1/2 within the interval",
            lambda: bootstrap_mean(random),
            lambda found: found.low <= 0.5 <= found.high,
            "a coin that was not seen is met half of the time, whatever the network",
        ),
    ]


def _ends(part: xarray.Dataset) -> str:
    """How often the least over R is at an end of the ladder."""
    best = part.ntrf_bound.argmin("radius")
    at_end = (best == 0) | (best == part.sizes["radius"] - 1)
    counts = (
        f"{int(at_end.sel(labels=labels).sum())} of {at_end.sel(labels=labels).size} "
        f"runs with {labels} labels"
        for labels in part.labels.values
    )
    return f"the least R or the largest is the best on {' and '.join(counts)}"


def _extent(found: xarray.Dataset) -> str:
    """The axes of all runs."""
    names = {"depth": "L", "size": "n", "width": "m"}
    axes = (
        f"{symbol} = {', '.join(map(str, found[name].values))}"
        for name, symbol in names.items()
    )
    return ", ".join(axes)
