"""What is proved of deep ReLU networks beside the start, from what a run measures.

The theorems are those of Cao, Gu 2019 (CG, arXiv 1905.13210) and of Chen, Cao, Zou, Gu
2021 (HMO, arXiv 1911.12360). They hold with probability 1 - delta over the start, for
widths beyond some m*, and up to constants and logarithms that they hide in O(.): these
are 1 here, so that every value is an order of magnitude.
"""

import math
from dataclasses import dataclass

from mfsim.theory.lazy_setting import check_positive


@dataclass(frozen=True)
class ErrorBound:
    """The right-hand side of a theorem on an error or a loss, term by term.

    Fields:
        terms: Those that add up to the value, by their formulas.
        statement: The theorem.
        trivial_from: The value from which on it says no more than is known without it;
            1 for a 0-1 error.
    """

    terms: dict[str, float]
    statement: str
    trivial_from: float = 1.0

    @property
    def value(self) -> float:
        """The bound, up to the hidden constants."""
        return sum(self.terms.values())

    @property
    def vacuous(self) -> bool:
        """Whether it is trivial, even with hidden constants of 1."""
        return not self.value < self.trivial_from


@dataclass(frozen=True)
class TrainingBound:
    """What gradient descent reaches, how soon and from which width on.

    Fields:
        loss: Least training loss within `steps`, as an ErrorBound.
        steps: T, in steps of the step size.
        step_size: eta, up to its constant.
        width: m*, up to constants and logarithms of m; infinite beyond 1e308.
    """

    loss: ErrorBound
    steps: float
    step_size: float
    width: float


def ntrf_error_bound(
    ntrf_loss: float,
    *,
    radius: float,
    depth: int,
    num_train: int,
    delta: float = 0.05,
) -> ErrorBound:
    """The expected 0-1 error of online SGD, by the NTRF ball of radius R.

    Args:
        ntrf_loss: Least mean logistic loss over the ball, `ntrf_ball(...).loss`.
        radius: R.
        depth: L.
        num_train: n, the steps of online SGD.
        delta: Probability of the starts for which it may fail.

    Raises:
        ValueError: If a number is negative, or 0 where it must be positive, or `delta`
            is not within (0, 1).

    Source: Cao, Gu 2019, Theorem 3.3; the step is kappa R/(m sqrt(n)).
    """
    _check_loss("ntrf_loss", ntrf_loss)
    _check(radius=radius, depth=depth, num_train=num_train)
    return ErrorBound(
        terms={
            "4 NTRF loss": 4 * ntrf_loss,
            "L R/sqrt(n)": depth * radius / math.sqrt(num_train),
            "sqrt(log(1/delta)/n)": _deviation(num_train, delta),
        },
        statement="CG 3.3: E error <= inf over the ball (4/n) sum l(y f_lin) + "
        "O(L R/sqrt(n) + sqrt(log(1/delta)/n)), with the constants in O set to 1",
    )


def classifiability_error_bound(
    complexity: float, *, depth: int, num_train: int, delta: float = 0.05
) -> ErrorBound:
    """The expected 0-1 error of online SGD, by the labels' complexity in the kernel.

    Args:
        complexity: inf of sqrt(z^T Theta^-1 z/n) over y_i z_i >= 1, which is
            `classifiability`; `label_complexity`, z = y, is no less.
        depth: L.
        num_train: n, the steps of online SGD.
        delta: Probability of the starts for which it may fail.

    Raises:
        ValueError: As there.

    Source: Cao, Gu 2019, Corollary 3.10, with Theta of infinite width.
    """
    _check(complexity=complexity, depth=depth, num_train=num_train)
    return ErrorBound(
        terms={
            "L sqrt(z^T Theta^-1 z/n)": depth * complexity,
            "sqrt(log(1/delta)/n)": _deviation(num_train, delta),
        },
        statement="CG 3.10: E error <= O(L inf sqrt(z^T Theta^-1 z/n) + "
        "sqrt(log(1/delta)/n)), with the constants in O set to 1",
    )


def gd_training_bound(
    ntrf_loss: float,
    *,
    radius: float,
    width: int,
    depth: int,
    scale_exponent: float = 0.5,
    delta: float = 0.05,
) -> TrainingBound:
    """The training loss of gradient descent against the least of the NTRF ball.

    Args:
        ntrf_loss: epsilon, the least mean logistic loss over the ball; positive.
        radius: R.
        width: m, of the step size 1/(L m^2a) alone.
        depth: L.
        scale_exponent: a, of the step size and of m*.
        delta: Probability of the starts for which it may fail.

    Raises:
        ValueError: If a number is not positive or `delta` not within (0, 1).

    Source: Chen et al. 2021, Theorem 3.3, with m* from L^(11/3) R^(4/3) m^(-a/3) <= 1,
    the linearisation error of Theorem 3.5, times log^(4/3)(1/delta).
    """
    _check(ntrf_loss=ntrf_loss, radius=radius, width=width, depth=depth)
    _check_exponent(scale_exponent)
    _check_delta(delta)
    log_width = log_least_width(math.log(radius), depth, delta, scale_exponent)
    return TrainingBound(
        loss=ErrorBound(
            terms={"3 NTRF loss": 3 * ntrf_loss},
            statement="HMO 3.3: min over t <= T of L_S(W_t) <= 3 epsilon, "
            "T = O(L^2 R^2/epsilon), with the constants in O set to 1",
            trivial_from=math.log(2),
        ),
        steps=depth**2 * radius**2 / ntrf_loss,
        step_size=width ** (-2 * scale_exponent) / depth,
        width=math.exp(log_width) if log_width < 709 else math.inf,
    )


def log_least_width(
    log_radius: float, depth: int, delta: float, scale_exponent: float = 0.5
) -> float:
    """Log m*, m* = (L^(11/3) R^(4/3))^(3/a) log^(4/3)(1/delta): L^22 R^8 at a = 1/2.

    Source: Chen et al. 2021, Theorem 3.3.
    """
    log_error = (11 * math.log(depth) + 4 * log_radius) / 3
    return 3 / scale_exponent * log_error + 4 / 3 * math.log(math.log(1 / delta))


def gd_error_bound(
    train_risk: float,
    *,
    radius: float,
    width: int,
    depth: int,
    num_train: int,
    scale_exponent: float = 0.5,
    delta: float = 0.05,
) -> ErrorBound:
    """The 0-1 error of gradient descent while its weights stay in a ball.

    It first rises with the width and then falls, to L^(3/2) R/sqrt(n).

    Args:
        train_risk: L_S(W_t), the mean logistic loss.
        radius: R = m^a max_l |W_l(t) - W_l(0)|_F.
        width: m.
        depth: L.
        num_train: n.
        scale_exponent: a.
        delta: Probability of starts and samples for which it may fail.

    Raises:
        ValueError: If a number is negative, or 0 where it must be positive, or `delta`
            is not within (0, 1).

    Source: Chen et al. 2021, Theorem 3.5.
    """
    _check_loss("train_risk", train_risk)
    _check(radius=radius, width=width, depth=depth, num_train=num_train)
    _check_exponent(scale_exponent)
    linear = {
        "L^(3/2) R/sqrt(n)": depth**1.5 * radius / math.sqrt(num_train),
        "L^(11/3) R^(4/3) m^(-a/3)": depth ** (11 / 3)
        * radius ** (4 / 3)
        * width ** (-scale_exponent / 3),
    }
    # In logarithms, as 4^L may be beyond the largest float.
    log_lipschitz = depth * math.log(4) + 2 * math.log(depth) + math.log(radius)
    log_lipschitz += math.log(width / num_train) / 2
    lesser = linear
    if log_lipschitz < math.log(sum(linear.values())):
        lesser = {"4^L L^2 R sqrt(m/n)": math.exp(log_lipschitz)}
    return ErrorBound(
        terms={
            "2 L_S": 2 * train_risk,
            **lesser,
            "sqrt(log(1/delta)/n)": _deviation(num_train, delta),
        },
        statement="HMO 3.5: error <= 2 L_S + O(min(4^L L^2 R sqrt(m/n), "
        "L^(3/2) R/sqrt(n) + L^(11/3) R^(4/3) m^(-a/3)) + sqrt(log(1/delta)/n)), with "
        "the constants in O set to 1",
    )


def sgd_error_bound(
    ntrf_loss: float,
    *,
    radius: float,
    depth: int,
    num_train: int,
    delta: float = 0.05,
) -> ErrorBound:
    """The 0-1 error of online SGD, in 1/n where the data are separable.

    Arguments and errors are those of `ntrf_error_bound`; epsilon is the NTRF loss.

    Source: Chen et al. 2021, Theorem 3.8.
    """
    _check_loss("ntrf_loss", ntrf_loss)
    _check(radius=radius, depth=depth, num_train=num_train)
    return ErrorBound(
        terms={
            "8 L^2 R^2/n": 8 * depth**2 * radius**2 / num_train,
            "8 log(1/delta)/n": 8 * _deviation(num_train, delta) ** 2,
            "24 epsilon": 24 * ntrf_loss,
        },
        statement="HMO 3.8: E error <= 8 L^2 R^2/n + 8 log(1/delta)/n + 24 epsilon",
    )


def _deviation(samples: int, delta: float) -> float:
    """sqrt(log(1/delta)/n)."""
    _check_delta(delta)
    return math.sqrt(math.log(1 / delta) / samples)


def _check(**numbers: int | float) -> None:
    for name, value in numbers.items():
        check_positive(name, value)


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be within (0, 1), got {delta:g}.")


def _check_exponent(exponent: float) -> None:
    if not 0 < exponent <= 0.5:
        raise ValueError(f"scale_exponent must be within (0, 1/2], got {exponent:g}.")


def _check_loss(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0, got {value:g}.")
