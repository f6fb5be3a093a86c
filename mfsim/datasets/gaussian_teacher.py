"""Labels of an infinite network whose distance from the start is known exactly."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import erf

from mfsim.component import count, real, static
from mfsim.datasets.base import AbstractDataset, Data, stream
from mfsim.datasets.draws import sphere_inputs, uniform_on_sphere
from mfsim.datasets.functions import SCALAR_FUNCTIONS
from mfsim.datasets.prepare import Prepare

# Standard deviations beyond which the normal density, 1e-32, is left out.
_TAIL = 12.0


class GaussianTeacher(AbstractDataset):
    """y = f(p_true, x), alpha = 1, p_true = (1 - epsilon) p_0 + epsilon N(mu, Lambda).

    p_0 = N(0, Lambda) with Lambda = diag(sigma_w^2 I, sigma_u^2) is the law of (w, u)
    at the start, mu = (mu_w, mu_u); the inputs are uniform on the unit sphere. As h is
    odd, y = epsilon mu_u E h(N(mu_w.x, sigma_w^2 |x|^2)), for Erf
    epsilon mu_u erf(mu_w.x / sqrt(1 + 2 sigma_w^2 |x|^2)).

    Attributes:
        dim: Dimension d of the inputs.
        num_train: Number n of training points.
        num_test: Number of test points.
        epsilon: Weight of the shifted part, from 0 to 1.
        input_shift: Length |mu_w|; its direction is drawn.
        output_shift: Shift mu_u.
        activation: The function h.
        input_std: Standard deviation sigma_w of the input weights under p_0.
        output_std: Standard deviation sigma_u of the output weights under p_0.
        seed: Of the inputs and the direction of mu_w, each in its own stream.
        prepare: What is done to the arrays; the teacher sees x as drawn.

    Source: Chen, Cao, Gu, Zhang 2020 (arXiv 2002.04026), sec. 4, for p_true.
    """

    dim: int = count()
    num_train: int = count()
    num_test: int = count(1000, at_least=0)
    epsilon: float = real(1.0, at_least=0.0, at_most=1.0)
    input_shift: float = real(1.0, above=0.0)
    output_shift: float = real(1.0, above=0.0)
    activation: Literal["Erf", "Tanh"] = static("Erf")
    input_std: float = real(1.0, above=0.0)
    output_std: float = real(1.0, above=0.0)
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def raw(self):
        sizes = self.num_train, self.num_test
        x_train, x_test = sphere_inputs(self.seed, *sizes, self.dim)
        return Data(x_train, self.labels(x_train), x_test, self.labels(x_test))

    def labels(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The output f(p_true, x) at inputs as drawn."""
        mean = x @ self.input_mean()
        std = self.input_std * np.linalg.norm(x, axis=1)
        if self.activation == "Erf":
            moment = erf(mean / np.sqrt(1 + 2 * std**2))
        else:
            moment = _normal_mean(SCALAR_FUNCTIONS[self.activation], mean, std)
        return self.epsilon * self.output_shift * moment

    def input_mean(self) -> Float[np.ndarray, " d"]:
        """The shift mu_w."""
        rng = stream(self.seed, "teacher")
        return self.input_shift * uniform_on_sphere(rng, 1, self.dim)[0]

    def rho(self) -> float:
        """The shift in standard deviations, sqrt(mu^T Lambda^-1 mu)."""
        return math.hypot(
            self.input_shift / self.input_std, self.output_shift / self.output_std
        )

    def kl(self) -> float:
        """KL(p_true | p_0) in nats, by a one-dimensional integral along mu."""
        if self.epsilon == 1:
            return self.rho() ** 2 / 2
        return 0.0 if self.epsilon == 0 else _mixture_kl(self.epsilon, self.rho())

    def chi2(self) -> float:
        """chi^2(p_true, p_0) = epsilon^2 (exp(rho^2) - 1); inf where it overflows."""
        if self.epsilon == 0:
            return 0.0
        with np.errstate(over="ignore"):
            return float(self.epsilon**2 * np.expm1(self.rho() ** 2))


def _normal_mean(
    h: Callable[[np.ndarray], np.ndarray],
    mean: Float[np.ndarray, " n"],
    std: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """E h(N(mean, std^2)) by the trapezoid rule."""
    # tanh has poles at i pi/2: the rule's error exp(-pi^2/(step std)) is below 1e-17.
    step = 0.25 / max(2.5, std.max(initial=0.0))
    nodes = step * np.arange(-math.ceil(_TAIL / step), math.ceil(_TAIL / step) + 1)
    weights = step * _normal_density(nodes)
    total = np.zeros_like(mean)
    for node, weight in zip(nodes, weights, strict=True):
        total += weight * h(mean + std * node)
    return total


def _mixture_kl(epsilon: float, rho: float) -> float:
    """E log r, r of (1 - epsilon) N(0, 1) + epsilon N(rho, 1) over N(0, 1)."""
    from scipy.integrate import quad

    log_odds = math.log(epsilon) - math.log1p(-epsilon)

    def integrand(s: float) -> float:
        start = _normal_density(s)
        mixture = (1 - epsilon) * start + epsilon * _normal_density(s - rho)
        log_ratio = math.log1p(-epsilon) + np.logaddexp(
            0.0, log_odds + rho * s - rho**2 / 2
        )
        # E_0[r log r - r + 1] is E log r with an integrand that is never negative.
        return mixture * log_ratio - mixture + start

    crossing = rho / 2 - log_odds / rho
    low, high = -_TAIL, rho + _TAIL
    marks = [0.0, _TAIL, rho - _TAIL, rho, crossing]
    edges = [low, *sorted(s for s in marks if low < s < high), high]
    parts = zip(edges[:-1], edges[1:], strict=True)
    tolerances = {"epsabs": 1e-15, "epsrel": 1e-10, "limit": 200}
    return sum(quad(integrand, a, b, **tolerances)[0] for a, b in parts)


def _normal_density(s):
    return np.exp(-(s**2) / 2) / math.sqrt(2 * math.pi)
