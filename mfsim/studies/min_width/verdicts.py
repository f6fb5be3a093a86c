"""The claims about smallest widths, held against what was measured."""

from collections.abc import Callable, Sequence

import numpy as np

from mfsim.findings import Verdict
from mfsim.studies.base import judge
from mfsim.studies.min_width.measured import Growth, Widths
from mfsim.studies.statistics import Estimate, TooFew, geometric_mean, joined

DECISIVE = 0.95
"""The Akaike weight at which one law is preferred."""


def verdicts(widths: Sequence[Widths], setting: str) -> tuple[Verdict, ...]:
    """For each pair: the widths beside the published ones, and how they grow."""
    found = []
    for part in widths:
        sizes = ", ".join(map(str, part.sizes))
        where = f"{part.pair}, n = {sizes} ({setting})"
        if np.isfinite(part.published).any():
            found += [_beside_published(part, where), _largest_ratio(part, where)]
            found.append(_published_growth(part, where))
        found += [_sublinear(part, where), _law(part, where)]
    return tuple(found)


def _beside_published(part: Widths, where: str) -> Verdict:
    each = (
        f"{ratio.value:.2f} at n = {size}"
        for size, ratio in zip(part.sizes, part.ratios(), strict=True)
        if ratio
    )
    return judge(
        "Smallest width with zero training error over the published one, geometric "
        f"mean over n, {where}",
        "at most 1: no more is needed than HMO's Figure 1 has",
        lambda: _ratio(part),
        _at_most_one,
        f"{', '.join(each)}; optimiser, step and budget of the figure are not known",
    )


def _ratio(part: Widths) -> Estimate:
    known = np.isfinite(part.published)
    logs = np.log(part.values[known] / part.published[known, None])
    found = geometric_mean(np.exp(logs.mean(axis=0)))
    if not np.isfinite(found.value) or not np.isfinite(found.low):
        raise TooFew("seeds must be 3 or more with a search that ended at every n")
    if not part.is_censored[known].any():
        return found
    note = "a lower bound, as searches ended above the cap"
    return Estimate(found.value, found.low, np.inf, joined(found.warning, note))


def _largest_ratio(part: Widths, where: str) -> Verdict:
    ratios = zip(part.sizes, part.ratios(), strict=True)
    known = {n: ratio for n, ratio in ratios if ratio and np.isfinite(ratio.low)}
    worst = max(known, key=lambda n: known[n].value, default=None)

    def measure() -> Estimate:
        if worst is None:
            raise TooFew("seeds must be 3 or more with a search that ended")
        return known[worst]

    return judge(
        "Mean smallest width over the published one at the n where it is largest, "
        f"{where}",
        "at most 1 at each n",
        measure,
        _at_most_one,
        f"n = {worst}" if worst else "",
    )


def _at_most_one(found: Estimate) -> bool | None:
    """None where the interval holds 1."""
    if found.high <= 1:
        return True
    return False if found.low > 1 else None


def _published_growth(part: Widths, where: str) -> Verdict:
    try:
        theirs = _power_law(part.published_growths)
    except TooFew as error:
        return Verdict(_claim(where), "that of the published points", note=str(error))
    ends = f"[{theirs.low:.2f}, {theirs.high:.2f}]"

    def agrees(found: Estimate) -> bool:
        return found.low <= theirs.high and theirs.low <= found.high

    return judge(
        _claim(where),
        f"{theirs.value:.2f} {ends}, of the published points at the same n",
        lambda: _power_law(part.growths),
        agrees,
        "agrees where the intervals meet",
    )


def _claim(where: str) -> str:
    return f"Exponent a of the smallest width as n^a, {where}"


def _sublinear(part: Widths, where: str) -> Verdict:
    return judge(
        _claim(where),
        "below 1: less than O(n)",
        lambda: _power_law(part.growths),
        lambda found: True if found.high < 1 else False if found.low >= 1 else None,
        "HMO: width polylogarithmic in n suffices under separability",
    )


def _power_law(fit: Callable[[], list[Growth]]) -> Estimate:
    _, power = fit()
    return power.power


def _law(part: Widths, where: str) -> Verdict:
    def weight() -> Estimate:
        polylog, power = part.growths()
        powers = f"k = {polylog.power.value:.2f}, a = {power.power.value:.2f}"
        is_open = 1 - DECISIVE < polylog.weight < DECISIVE
        word = "the weights do not decide" if is_open else ""
        return Estimate(polylog.weight, np.nan, np.nan, joined(powers, word))

    def holds(found: Estimate) -> bool | None:
        if found.value >= DECISIVE:
            return True
        return False if found.value <= 1 - DECISIVE else None

    return judge(
        f"Akaike weight of log^k n against n^a for the smallest width, {where}",
        f"at least {DECISIVE:g} for log^k n",
        weight,
        holds,
    )
