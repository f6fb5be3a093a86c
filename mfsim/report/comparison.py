"""Any finished runs side by side: what differs between them, before and after."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from mfsim.findings import Cell, Table
from mfsim.report.explorer import CLOCKS
from mfsim.report.groups import Group, differing, short_names, telling
from mfsim.report.numbers import shown
from mfsim.report.regimes import Movement, movement, regime, scale_exponent

Finals = Mapping[str, float]
"""Last values of a group's runs, by their seeds."""


def comparison_tables(groups: Sequence[Group]) -> tuple[Table, ...]:
    """Groups with their regimes, differing keys, last values, differences."""
    tables = (_groups(groups), _keys(groups), _side_by_side(groups))
    return (*tables, _differences(groups)) if len(groups) > 1 else tables


def mean_interval(values: np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval of a mean by Student's t; None of fewer than two values."""
    if values.size < 2:
        return None
    error = stats.sem(values)
    half = float(stats.t.ppf(0.975, values.size - 1) * error)
    return float(values.mean() - half), float(values.mean() + half)


def difference_interval(
    first: Finals, second: Finals
) -> tuple[tuple[float, float] | None, str]:
    """The 95 % interval of mean(second) − mean(first), and by which test.

    Runs of the same seeds share start and noise: pairs of them, by Student's t. Else
    Welch's t. None where a side has fewer than two values.
    """
    if first.keys() == second.keys():
        pairs = np.array([second[seeds] - first[seeds] for seeds in first])
        return mean_interval(pairs), "pairs of one seed"
    if min(len(first), len(second)) < 2:
        return None, ""
    with warnings.catch_warnings():
        # Values that agree to rounding have no error to speak of.
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_ind([*second.values()], [*first.values()], equal_var=False)
        ends = test.confidence_interval(0.95)
    return (float(ends.low), float(ends.high)), "Welch"


def _groups(groups: Sequence[Group]) -> Table:
    keys = telling(groups)
    names = short_names(keys)
    rows = []
    for group in groups:
        moved = [movement(run.series, _temperature(group)) for run in group.runs]
        mean = Movement(
            _mean([each.displacement for each in moved]),
            _mean([each.drift for each in moved]),
        )
        label = regime(mean)
        rows.append(
            (
                group.name,
                _unknown(group) if label == "unknown" else label,
                *(_cell(group.config.get(key)) for key in keys),
                float(len(group.runs)),
                scale_exponent(group.runs[0].config.get("flow", {}).get("network", {})),
                mean.displacement,
                mean.drift,
            )
        )
    measured = ("runs", "s", "relative displacement D", "relative kernel drift K")
    columns = ("group", "regime", *(names[key] for key in keys), *measured)
    title = "The groups: runs that differ in seeds alone are one, with its regime."
    return Table("groups", title, columns, tuple(rows))


def _unknown(group: Group) -> str:
    """Why the regime of a group is not known."""
    kind = group.config.get("flow.network.kind")
    return "–" if kind == "ReluClassifier" else "unknown, needs KernelDrift"


def _keys(groups: Sequence[Group]) -> Table:
    """Differing keys of the configurations, a column a group."""
    rows = []
    for key in differing([group.config for group in groups]):
        values = [_cell(group.config.get(key)) for group in groups]
        rows.append((key, *values))
    title = "Keys of the configuration that differ between groups."
    columns = ("key", *(group.name for group in groups))
    return Table("config_differences", title, columns, tuple(rows))


def _series(groups: Sequence[Group]) -> dict[str, tuple[str, str]]:
    """Symbol and unit of each series of one number a save."""
    found: dict[str, tuple[str, str]] = {}
    for run in (run for group in groups for run in group.runs):
        for name in (*CLOCKS, *run.series.data_vars):
            array = run.series.variables[name]
            if array.dims == ("step",):
                told = array.attrs.get("symbol", ""), array.attrs.get("unit", "1")
                found.setdefault(str(name), told)
    return found


def _side_by_side(groups: Sequence[Group]) -> Table:
    rows = []
    for name, (symbol, unit) in _series(groups).items():
        cells = [_mean_and_error([*group.finals(name).values()]) for group in groups]
        rows.append((name, symbol, unit, *cells))
    columns = ("series", "symbol", "unit", *(group.name for group in groups))
    title = "Last values: means over the runs of a group ± standard errors."
    return Table("last_values", title, columns, tuple(rows))


def _mean_and_error(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = shown(float(np.mean(values)))
    if len(values) < 2:
        return mean
    return f"{mean} ± {shown(float(f'{stats.sem(values):.2g}'))}"


def _differences(groups: Sequence[Group]) -> Table:
    """A row a series and group: how far its mean is from that of the first group."""
    rows: list[tuple[Cell, ...]] = []
    first, *others = groups
    for name, (_, unit) in _series(groups).items():
        base = first.finals(name)
        for group in others if base and name not in CLOCKS else ():
            if values := group.finals(name):
                pair = f"{group.name} − {first.name}"
                rows.append((name, unit, pair, *_difference(base, values)))
    title = (
        f"Differences of means to group {first.name}, with 95 % intervals: by Student's"
        " t of pairs where both groups have the same seeds, else by Welch's t; not"
        " corrected for the number of rows."
    )
    columns = ("series", "unit", "groups", "difference", "low", "high", "by")
    return Table("differences", title, (*columns, "apart from 0"), tuple(rows))


def _difference(first: Finals, second: Finals) -> tuple[Cell, ...]:
    away = float(np.mean([*second.values()]) - np.mean([*first.values()]))
    ends, test = difference_interval(first, second)
    if ends is None:
        return away, None, None, "too few seeds", "cannot say"
    return away, *ends, test, "no" if ends[0] <= 0 <= ends[1] else "yes"


def _temperature(group: Group) -> float:
    return float(group.config.get("flow.temperature", 0.0))


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else str(value)
