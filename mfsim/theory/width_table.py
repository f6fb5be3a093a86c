"""The widths that lines of work ask for: Table 1 of Chen et al. 2021, as numbers."""

import math
from dataclasses import dataclass

from mfsim.theory.lazy_setting import check_positive
from mfsim.theory.over_parameterisation import log_least_width

_APART, _SEPARABLE = "distance phi between the classes", "margin gamma"
_LEAST = "L^22 R^8 log^(4/3)(1/d)"
_FORMULAS = {
    "Zou": "n^12 L^16 (n^2 + 1/e)/phi^4",
    "apart": f"{_LEAST}, R = n^(3/2) phi^(-1/2) log(n/(d e))",
    "Cao, Gu 2020": "e^-14 exp(L)",
    "shallow": "(sqrt(log(n/d)) + log(1/e))^2/gamma^8",
    "separable": f"{_LEAST}, R = (sqrt(log(n/d)) + log(1/e))/gamma",
    "CG": "e^-14",
}
_ROWS = (
    ("Zou et al. 2019", "deep", "GD", _APART, "n^12 L^16 (n^2 + 1/e)", "Zou"),
    ("HMO", "deep", "GD", _APART, "L^22 n^12", "apart"),
    ("Cao, Gu 2020", "deep", "GD", _SEPARABLE, "e^-14 exp(Omega(L))", "Cao, Gu 2020"),
    ("Ji, Telgarsky 2020", "shallow", "GD", _SEPARABLE, "polylog(n, 1/e)", "shallow"),
    ("HMO", "deep", "GD", _SEPARABLE, "polylog(n, 1/e) poly(L)", "separable"),
    ("CG", "deep", "SGD", _SEPARABLE, "e^-14 poly(L)", "CG"),
    ("Ji, Telgarsky 2020", "shallow", "SGD", _SEPARABLE, "polylog(1/e)", "shallow"),
    ("HMO", "deep", "SGD", _SEPARABLE, "polylog(1/e) poly(L)", "separable"),
)
"""Source, network, algorithm, assumption, what the table prints, and the formula;
d is delta and e is epsilon."""


@dataclass(frozen=True)
class RequiredWidth:
    """A row: from which width on some work's guarantee holds.

    Fields:
        source: Who proved it.
        network: "deep", or "shallow" for two layers.
        algorithm: "GD" or "SGD".
        assumption: What the data must satisfy.
        printed: The width as the table prints it, up to logarithms.
        formula: The width that is evaluated.
        log10_width: Its decimal logarithm.
    """

    source: str
    network: str
    algorithm: str
    assumption: str
    printed: str
    formula: str
    log10_width: float

    @property
    def width(self) -> float:
        """The width; infinite beyond the largest float."""
        return 10.0**self.log10_width if self.log10_width < 308 else math.inf


def separable_radius(
    margin: float, *, num_train: int, epsilon: float, delta: float = 0.05
) -> float:
    """R = (sqrt(log(n/delta)) + log(1/epsilon))/gamma, whose ball has loss epsilon.

    Args:
        margin: gamma, the `kernel_margin` of the network's kernel at the start.
        num_train: n.
        epsilon: Mean logistic loss, in (0, 1).
        delta: Probability of the starts for which it may fail.

    Raises:
        ValueError: If `margin` or `num_train` is not positive, or the others are not
            within (0, 1).

    Source: Chen et al. 2021, Definition 4.3 and the proposition after it.
    """
    _check(num_train, epsilon, delta, margin=margin)
    drive = math.sqrt(math.log(num_train / delta)) + math.log(1 / epsilon)
    return drive / margin


def shallow_radius(
    margin: float, *, num_train: int, epsilon: float, delta: float = 0.05
) -> float:
    """R = (log(n/delta) + log(1/epsilon))/gamma, by the shallow tangent margin gamma.

    Arguments and errors are those of `separable_radius`, with the margin that
    `shallow_margin` finds.

    Source: Chen et al. 2021, Definition 4.6 and the proposition after it.
    """
    _check(num_train, epsilon, delta, margin=margin)
    return (math.log(num_train / delta) + math.log(1 / epsilon)) / margin


def distance_radius(
    distance: float, *, num_train: int, epsilon: float, delta: float = 0.05
) -> float:
    """R = n^(3/2) phi^(-1/2) log(n/(delta epsilon)), phi the `class_distance`.

    Arguments and errors are those of `separable_radius`, with phi for the margin.

    Source: Chen et al. 2021, Assumption 4.9 and the proposition after it.
    """
    _check(num_train, epsilon, delta, distance=distance)
    log_ratio = math.log(num_train / (delta * epsilon))
    return num_train**1.5 * distance**-0.5 * log_ratio


def required_widths(
    *,
    num_train: int,
    depth: int,
    margin: float,
    distance: float,
    epsilon: float = 0.1,
    delta: float = 0.05,
) -> list[RequiredWidth]:
    """Table 1 of HMO: the width that every line of work asks for, in its order.

    Constants are 1, and so are poly(L), the constant in exp(Omega(L)) and all hidden
    logarithms but those that a formula writes out: orders of magnitude. HMO's rows are
    m* of Theorem 3.3 at a = 1/2 and the radius of the assumption.

    Args:
        num_train: n.
        depth: L.
        margin: gamma of Definition 4.3; for the shallow works, their own.
        distance: phi, the `class_distance`.
        epsilon: Error to reach.
        delta: Probability of failure.

    Raises:
        ValueError: If a number is not positive, or `epsilon` or `delta` is not within
            (0, 1).

    Source: Chen et al. 2021, Table 1; phi^-4 of Zou, Cao, Zhou, Gu 2019 and gamma^-8 of
    Ji, Telgarsky 2020, Theorem 2.2, from these works themselves.
    """
    _check(num_train, epsilon, delta, depth=depth, margin=margin, distance=distance)
    n, log_n, log_inverse = num_train, math.log(num_train), math.log(1 / epsilon)
    log_far, log_separable = (
        math.log(radius(value, num_train=n, epsilon=epsilon, delta=delta))
        for radius, value in ((distance_radius, distance), (separable_radius, margin))
    )
    zou = 12 * log_n + 16 * math.log(depth) - 4 * math.log(distance)
    log_widths = {
        "Zou": zou + math.log(n**2 + 1 / epsilon),
        "apart": log_least_width(log_far, depth, delta),
        "Cao, Gu 2020": 14 * log_inverse + depth,
        "shallow": 2 * log_separable - 6 * math.log(margin),
        "separable": log_least_width(log_separable, depth, delta),
        "CG": 14 * log_inverse,
    }
    return [
        RequiredWidth(*row[:5], _FORMULAS[row[5]], log_widths[row[5]] / math.log(10))
        for row in _ROWS
    ]


def _check(
    num_train: int, epsilon: float, delta: float, **numbers: int | float
) -> None:
    check_positive("num_train", num_train)
    for name, value in numbers.items():
        check_positive(name, value)
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be within (0, 1), got {value:g}.")
