"""The transition's numbers as tables."""

import math
from collections.abc import Sequence

from mfsim.findings import Cell, Table
from mfsim.studies.statistics import TooFew
from mfsim.studies.transition.measures import Answer, Results, bars
from mfsim.studies.transition.orders import DIRECTIONS, ORDERS, OTHERS, TEST_RISK
from mfsim.studies.transition.phases import regions


def tables(results: Sequence[Results]) -> tuple[Table, ...]:
    """Exponents, crossovers, collapses, and the order parameters themselves."""
    return (
        Table(
            "transition_exponents",
            "Exponents in α in the lazy limit, with 95 % intervals.",
            (
                *("data", "m", "order parameter", "exponent", "low", "high"),
                *("predicted", "theorem's bound", "note"),
            ),
            tuple(row for each in results for row in _exponents(each)),
        ),
        Table(
            "transition_crossovers",
            "Where the mean-field regime ends, with 95 % intervals.",
            ("data", "m", "where", "α_c", "low", "high", "s_c", "note"),
            tuple(row for each in results for row in _crossovers(each)),
        ),
        Table(
            "transition_collapse",
            "The power ν for which curves over α/m^ν are one, with 95 % intervals.",
            ("data", "order parameter", "ν", "low", "high", "predicted", "note"),
            tuple(row for each in results for row in _powers(each)),
        ),
        Table(
            "transition_order_parameters",
            "Order parameters at the end: geometric means over seeds, of the alignment "
            "gain and the test error arithmetic ones.",
            _columns(),
            tuple(row for each in results for row in _points(each)),
        ),
    )


def _numbers(answer: Answer) -> tuple[Sequence[float | None], str]:
    """Value and interval, and what is to be noted."""
    if isinstance(answer, TooFew):
        return (None, None, None), str(answer)
    return [float(number) for number in answer[:3]], answer.warning


def _exponents(results: Results) -> list[tuple[Cell, ...]]:
    rows = []
    for order in ORDERS:
        for m in results.part.widths:
            numbers, note = _numbers(results.exponents[order.name, m])
            named = results.part.title, float(m), order.label
            rows.append((*named, *numbers, order.exponent, order.bound, note))
    return rows


def _crossovers(results: Results) -> list[tuple[Cell, ...]]:
    rows = []
    for (label, m), answer in results.crossovers.items():
        numbers, note = _numbers(answer)
        s = math.log(numbers[0]) / math.log(m) if numbers[0] else None
        rows.append((results.part.title, float(m), label, *numbers, s, note))
    return rows


def _powers(results: Results) -> list[tuple[Cell, ...]]:
    rows = []
    for order in ORDERS:
        numbers, note = _numbers(results.powers[order.name])
        rows.append((results.part.title, order.label, *numbers, 0.0, note))
    return rows


def _columns() -> tuple[str, ...]:
    powers = (f"{order.label} ({order.unit})" for order in ORDERS)
    return ("data", "m", "α", "s", *powers, *OTHERS.values(), "region")


def _points(results: Results) -> list[tuple[Cell, ...]]:
    part, rows = results.part, []
    for m in part.widths:
        alpha, region = regions(part, m, results.level)
        found = [bars(part.curve(order.name, m)[1]).mean for order in ORDERS]
        others = [_mean(results, name, m) for name in OTHERS]
        for k, a in enumerate(alpha.tolist()):
            cells = [float(each[k]) for each in found]
            more = [each[k] if each else None for each in others]
            s = math.log(a) / math.log(m)
            rows.append((part.title, float(m), a, s, *cells, *more, region[k]))
    return rows


def _mean(results: Results, name: str, width: int) -> list[Cell]:
    if name not in results.part.values:
        return []
    values = results.part.curve(name, width)[1]
    return bars(values, is_positive=name in (DIRECTIONS, TEST_RISK)).mean.tolist()
