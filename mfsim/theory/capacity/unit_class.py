"""Bounds in closed form on the Rademacher complexity of a class of networks.

The class: f = V [U x]_+ with |v_j| <= alpha_j, |u_j - u_j^0| <= beta_j in every unit.
Its complexity on points x_i, with a sign for every output of every point, is
R = (1/N) E sup_f sum_i <xi_i, f(x_i)>.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from mfsim.theory.capacity.norms import StartNorms, log, log_sum, start_norms


@dataclass(frozen=True)
class UnitClass:
    """The class and its points, by natural logarithms of norms.

    Fields:
        impact, capacity: alpha_j and beta_j.
        start: Norms of the units at their start.
        inputs: |X|_F.
        samples, dim, outputs: N, d, c: as they are.
    """

    impact: Float[np.ndarray, " h"]
    capacity: Float[np.ndarray, " h"]
    start: StartNorms
    inputs: float
    samples: int
    dim: int
    outputs: int

    @property
    def log_scale_free(self) -> float:
        """Log of sum_j alpha_j beta_j."""
        return log_sum(self.impact + self.capacity)

    def log_ramp_upper(self, log_margin: float) -> float:
        """Log of (2 sqrt(2c) + 2)/(gamma N) sum_j alpha_j (beta_j |X|_F + |u_j^0 X|).

        It bounds the complexity of the ramp loss, one sign a point: NEY, eq. (6).
        """
        if log_margin == -math.inf:
            return math.inf
        constant = math.log(2 * math.sqrt(2 * self.outputs) + 2) - log_margin
        return constant + self._mean(
            np.logaddexp(self.capacity + self.inputs, self.start.linear)
        )

    def log_upper(self) -> float:
        """Log of (sqrt(c)/N) sum_j alpha_j (2 beta_j |X|_F + |[u_j^0 X]_+|) >= R.

        The latter term by Jensen; the former by contraction of the 1-Lipschitz maps
        t -> [u_j^0 x_i + t]_+ - [u_j^0 x_i]_+, which costs 2 as the sign is free.
        """
        moved = math.log(2) + self.capacity + self.inputs
        return math.log(self.outputs) / 2 + self._mean(
            np.logaddexp(moved, self.start.active)
        )

    def log_lower(self) -> float:
        """Log of a lower bound on R: unit by unit the greater of two.

        sqrt(c/2) |[u X]_+| of one u in the ball, by Khintchine's inequality; and
        k (beta_j - |u_j^0|)_+ |X|_F, k as in `log_lower_at_zero`, as the ball about
        u_j^0 has one about 0 in it.
        """
        standing = math.log(self.outputs / 2) / 2 + self.start.moved
        # beta - |u^0| = beta (1 - |u^0|/beta), where there is a beta.
        moves = np.isfinite(self.capacity)
        gap = np.minimum(
            np.where(moves, self.start.weights, 0) - self._finite_capacity, 0.0
        )
        inner = np.where(moves, self.capacity + log(-np.expm1(gap)), -np.inf)
        return self._mean(np.maximum(standing, self._log_reach + inner + self.inputs))

    def log_lower_at_zero(self) -> float:
        """Log of (k/N) |X|_F sum_j alpha_j beta_j <= R of the same class at U_0 = 0.

        k = max(1, sqrt(c/d))/(2 sqrt(2)): of u and -u one reaches half of
        |sum_i xi_i (u.x_i)|, whose largest value, a spectral norm, has at least
        the mean max(1, sqrt(c/d)) |X|_F/sqrt(2).
        """
        return self._log_reach + self._mean(self.capacity + self.inputs)

    @property
    def _log_reach(self) -> float:
        return math.log(max(1, self.outputs / self.dim) / 8) / 2

    @property
    def _finite_capacity(self) -> np.ndarray:
        return np.where(np.isfinite(self.capacity), self.capacity, 0.0)

    def _mean(self, logs: np.ndarray) -> float:
        return log_sum(self.impact + logs) - math.log(self.samples)


def unit_class(
    u0: Float[np.ndarray, "h d"],
    capacity: Float[np.ndarray, " h"],
    impact: Float[np.ndarray, " h"],
    x: Real[np.ndarray, "n d"],
    inputs: float,
    outputs: int,
    bias: Float[np.ndarray, " h"] | None = None,
) -> UnitClass:
    """The class about U_0, and b_0, from the logs of beta_j, alpha_j and |X|_F."""
    return UnitClass(
        impact=impact,
        capacity=capacity,
        start=start_norms(u0, np.exp(capacity), x, bias),
        inputs=inputs,
        samples=len(x),
        dim=x.shape[1],
        outputs=outputs,
    )
