"""The six capacities that the generalisation bounds put a constant to.

A bound on the error is L + sqrt(C/N), L the ramp loss at margin gamma (the training
error for the VC dimension): C is the number of samples at which the root is 1. The
constants are those of the authors' program, `measures.py` of
github.com/bneyshabur/over-parametrization. All norms come and go as natural logarithms.
"""

import math
from dataclasses import dataclass

from mfsim.theory.capacity.norms import InputNorms, log, log_sum

_FLOOR = 1e-16
"""Of a margin within a logarithm, as in the program."""


@dataclass(frozen=True)
class Setting:
    """What the bounds take from a network, its data and its training.

    Fields:
        norms: Logs of the norms of the weights, of their start and of the way between,
            by the names of `capacity_measures`.
        inputs: Logs of the norms of the inputs.
        start: Log of |U_0 X|_F, or with `program` of |[U_0 X + b_0]_+|_F.
        log_margin: log gamma; -inf where the margin is not positive, NaN where there
            is none.
        samples, dim, hidden, outputs: N, d, h, c.
        parameters: Number of weights, and of biases that are not folded in.
        delta: Probability with which a bound may fail.
        program: Whether to compute what the authors' program does where it differs.
    """

    norms: dict[str, float]
    inputs: InputNorms
    start: float
    log_margin: float
    samples: int
    dim: int
    hidden: int
    outputs: int
    parameters: int
    delta: float
    program: bool

    @property
    def mean_input(self) -> float:
        """Log of |X|_F/sqrt(N)."""
        return self.inputs.frobenius - math.log(self.samples) / 2

    @property
    def confidence(self) -> float:
        """3 sqrt(log(N/delta))."""
        return 3 * math.sqrt(self.log_over_delta(self.samples))

    def log_over_delta(self, value: int | float) -> float:
        """Log(value/delta), also where that quotient overflows."""
        return math.log(value) - math.log(self.delta)

    def over_margin(self, slope: float) -> float:
        """Log of a slope divided by gamma; infinite where that is not positive."""
        return math.inf if self.log_margin == -math.inf else slope - self.log_margin


def log_capacities(at: Setting) -> dict[str, float]:
    """Log C of each of the six, by the name of its measure."""
    return {
        "vc": _vc(at),
        "l1": _l1(at),
        "frobenius": _frobenius(at),
        "spectral_l21": _spectral_l21(at),
        "spectral_frobenius": _spectral_frobenius(at),
        "unit_wise": _unit_wise(at),
    }


def _vc(at: Setting) -> float:
    """8 c V log(e max(N/V, 1)) + 8 log(2/delta), V the VC dimension of Harvey et al.

    V = 2 + sum_l W_l log2(8e R log2(4e R)), R = h + 2c, W_l the parameters up to
    layer l. The program counts biases in W_l, and scales W by a ratio with them.
    """
    d, h, c = at.dim, at.hidden, at.outputs
    reach = h + 2 * c
    depth_weighted: float = 2 * d * h + h * c
    if at.program:
        first, second = (d + 1) * h, (h + 1) * c
        depth_weighted = at.parameters * (2 * first + second) / (first + second)
    factor = math.log2(8 * math.e * reach * math.log2(4 * math.e * reach))
    dimension = 2 + depth_weighted * factor
    fill = math.log(math.e * max(at.samples / dimension, 1))
    return math.log(8 * c * dimension * fill + 8 * at.log_over_delta(2))


def _l1(at: Setting) -> float:
    """(R + 3 sqrt(log(N/delta)))^2, |.|_1 the largest l1 norm of a row.

    R = 16 c |U|_1 |V|_1 sqrt(log d) max_i |x_i|_inf/gamma: 0 at d = 1.
    """
    entry = at.inputs.program_entry if at.program else at.inputs.entry
    root = float(log(math.log(at.dim))) / 2
    slope = math.log(16 * at.outputs) + at.norms["u_l1_max"] + at.norms["v_l1_max"]
    return 2 * log_sum(at.over_margin(slope + root + entry), math.log(at.confidence))


def _frobenius(at: Setting) -> float:
    """(R + 3 sqrt(log(N/delta)))^2, R = 8 sqrt(c) |U|_F |V|_F |X|_F/(gamma sqrt(N))."""
    slope = math.log(8 * math.sqrt(at.outputs)) + at.mean_input
    slope += at.norms["u_frobenius"] + at.norms["v_frobenius"]
    return 2 * log_sum(at.over_margin(slope), math.log(at.confidence))


def _spectral_l21(at: Setting) -> float:
    """(R + sqrt(K))^2, of which R is spectral norms times distances by rows.

    R = 144 log N log(2W) (|X|_F + 1)/(gamma sqrt(N))
    ((|V|_2 |U - U_0|_12)^(2/3) + (|U|_2 |V - V_0|_12)^(2/3))^(3/2),
    K = 4.5 log(1/delta) + log(2N/gamma) + 2 log(2 + |X|_F) + 2 sum log(2 + 2s) over s
    the spectral norms and the Frobenius distances; W is the number of parameters.
    """
    n = at.norms
    pair = log_sum(
        2 / 3 * (n["v_spectral"] + n["u_distance_row_sum"]),
        2 / 3 * (n["u_spectral"] + n["v_distance_row_sum"]),
    )
    slope = math.log(144 * math.log(at.samples) * math.log(2 * at.parameters))
    slope += log_sum(at.mean_input, -math.log(at.samples) / 2) + 1.5 * pair
    rest = 4.5 * at.log_over_delta(1) + math.log(2 * at.samples)
    rest -= max(at.log_margin, math.log(_FLOOR))
    rest += 2 * log_sum(math.log(2), at.inputs.frobenius)
    for name in ("distance_frobenius", "spectral"):
        for layer in "uv":
            rest += 2 * (math.log(2) + log_sum(0.0, n[f"{layer}_{name}"]))
    return 2 * log_sum(at.over_margin(slope), float(log(max(rest, 0.0))) / 2)


def _spectral_frobenius(at: Setting) -> float:
    """R^2 + 6 log(2N/delta), by PAC-Bayes.

    R = 336 sqrt(log 8h) max|x_i| sqrt(h |V|_2^2 |U - U_0|_F^2 + c |U|_2^2
    |V - V_0|_F^2)/(sqrt(2) gamma). The program has one factor |U|_2 more.
    """
    n = at.norms
    pair = log_sum(
        math.log(at.hidden) + 2 * (n["v_spectral"] + n["u_distance_frobenius"]),
        math.log(at.outputs) + 2 * (n["u_spectral"] + n["v_distance_frobenius"]),
    )
    slope = math.log(42 * 8 * math.sqrt(math.log(8 * at.hidden) / 2))
    slope += at.inputs.largest + pair / 2
    if at.program:
        slope += n["u_spectral"]
    last = math.log(6 * at.log_over_delta(2 * at.samples))
    return log_sum(2 * at.over_margin(slope), last)


def _unit_wise(at: Setting) -> float:
    """(R + 3 sqrt(5h + log(max(1, gamma sqrt(N))/delta)))^2, the paper's own.

    R = 3 sqrt(2) (sqrt(2c) + 1) (|V|_F + 1) (|U - U_0|_F |X|_F/sqrt(N) + S + 1)/gamma,
    S = |U_0 X|_F/sqrt(N); the program takes it after the ReLU, with its biases.
    """
    n = at.norms
    slope = math.log(3 * math.sqrt(2) * (math.sqrt(2 * at.outputs) + 1))
    slope += log_sum(n["v_frobenius"], 0.0)
    half = math.log(at.samples) / 2
    slope += log_sum(n["u_distance_frobenius"] + at.mean_input, at.start - half, 0.0)
    union = 5 * at.hidden + max(0, at.log_margin + half) + at.log_over_delta(1)
    return 2 * log_sum(at.over_margin(slope), math.log(3 * math.sqrt(union)))


def log_bound(log_loss: float, log_capacity: float, samples: int) -> float:
    """Log of L + sqrt(C/N)."""
    return log_sum(log_loss, (log_capacity - math.log(samples)) / 2)
