"""How large the class of a two-layer network has become, by its norms."""

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from mfsim.activations import Relu
from mfsim.component import static
from mfsim.datasets import Data
from mfsim.flows import ParticleFlow, WeightFlow
from mfsim.networks import DeepRelu, ReluClassifier
from mfsim.observables.base import AbstractObservable, train_outputs
from mfsim.observables.risk import unjudged
from mfsim.series import Series
from mfsim.theory import capacity_measures

_NORMS = {
    "u_spectral": ("|U|_2", "Largest singular value of U."),
    "u_frobenius": ("|U|_F", "Frobenius norm of U."),
    "u_l1_max": ("|U|_inf,1", "Largest l1 norm of a row of U."),
    "u_distance_frobenius": ("|U - U_0|_F", "Frobenius norm of what U has moved."),
    "u_distance_row_sum": ("|U - U_0|_1,2", "Sum of the norms of the rows of U - U_0."),
    "u0_spectral": ("|U_0|_2", "Largest singular value of U at the start."),
    "v_spectral": ("|V|_2", "Largest singular value of V."),
    "v_frobenius": ("|V|_F", "Frobenius norm of V."),
    "v_l1_max": ("|V|_inf,1", "Largest l1 norm of a row of V."),
    "v_distance_frobenius": ("|V - V_0|_F", "Frobenius norm of what V has moved."),
    "v_distance_row_sum": ("|V - V_0|_1,2", "Sum of the norms of the rows of V - V_0."),
}
_MEASURES = {
    "measure_vc": ("(1)", "Measure (1), the number of weights of U."),
    "measure_l1": ("(2)", "Measure (2), |U|_inf,1 |V|_inf,1."),
    "measure_frobenius": ("(3)", "Measure (3), |U|_F |V|_F."),
    "measure_spectral_l21": (
        "(4)",
        "Measure (4), |U|_2 |V - V_0|_1,2 + |U - U_0|_1,2 |V|_2.",
    ),
    "measure_spectral_frobenius": (
        "(5)",
        "Measure (5), |U|_2 |V - V_0|_F + sqrt(h) |U - U_0|_F |V|_2.",
    ),
    "measure_unit_wise": (
        "(6)",
        "Measure (6), |U_0|_2 |V|_F + |U - U_0|_F |V|_F + sqrt(h).",
    ),
    "scale_free": ("sum_j alpha_j beta_j", "Sum of unit capacity times unit impact."),
    "rademacher_lower": (
        "R_low",
        "Lower bound of the Rademacher complexity of the units' class.",
    ),
}
_OF_PROGRAM = {
    "measure_vc": ("(1)", "Measure (1) as the program has it, the number of weights."),
    "measure_spectral_frobenius": (
        "(5)",
        "Measure (5) as the program has it, sqrt(c) |U|_2 |V - V_0|_F + sqrt(h) "
        "|U - U_0|_F |V|_2.",
    ),
    "measure_unit_wise": (
        "(6)",
        "Measure (6) as the program has it, |U_0|_2 |V|_F + |U - U_0|_F |V|_F.",
    ),
}
_UNITS = {
    "unit_capacity": ("mean beta_j", "Mean of unit capacity |u_j - u_j(0)|."),
    "unit_impact": ("mean alpha_j", "Mean of unit impact |v_j|."),
}
_BOUNDS = {
    "rademacher_upper": (
        "R_up",
        "Upper bound of the Rademacher complexity of the ramp loss at the margin.",
    ),
    "bound_unit_wise": ("bound (6)", "Unit-wise bound of the test error."),
}


_NOT_RELU = "the bounds are of networks of Relu"


class _Start(NamedTuple):
    """What is worked out once: U_0, V_0, biases, and the points with their classes."""

    u: Float[np.ndarray, "h d"]
    v: Float[np.ndarray, "c h"]
    biases: Any
    x: Float[np.ndarray, "n d"]
    labels: Float[np.ndarray, " n"] | None


class CapacityMeasures(AbstractObservable):
    """The measures (1) to (6) of Neyshabur et al., their norms and their bounds.

    Of f = V [U x]_+: U = w and V = (alpha/m) u^T of particles, U = W_1 and V = m^a W_2
    of DeepRelu of depth 2. Of another activation there are norms and measures, which
    are of U and V alone, and no bounds. Means over the units are recorded of unit
    capacity and unit impact. What needs a margin is infinite where it is not positive.

    Fields:
        mode: "paper", the formulas as printed, or "code2018", those of the authors'
            program.
        fold_biases: In mode "paper", whether biases are taken as weights of a constant
            last input and a constant last neuron; a network with biases needs it.
        norms: Whether the norms that the measures are made of are recorded as well.

    Cost: a pass over the training points and three spectral norms a save, on the host:
        half a minute with 8192 neurons and all of MNIST.
    Source: Neyshabur et al. 2019; `mfsim.theory.capacity_measures`.
    """

    flows: ClassVar = (ParticleFlow, WeightFlow)
    of_many_outputs: ClassVar = True

    mode: Literal["paper", "code2018"] = static("paper")
    fold_biases: bool = static(False)
    norms: bool = static(True)

    def __check_init__(self):
        if self.fold_biases and self.mode != "paper":
            raise ValueError(
                f"fold_biases must be false in mode {self.mode!r}, whose norms leave "
                "biases out, got true."
            )

    def declare(self, flow, integrator, data):
        has_biases = isinstance(flow.network, ReluClassifier) and flow.network.bias
        if has_biases and self.mode == "paper" and not self.fold_biases:
            raise ValueError(
                "fold_biases must be true for a network with biases in mode 'paper', "
                "whose formulas have none, got false; or take mode = 'code2018'."
            )
        declared: dict[str, Series | str] = {
            name: Series("1" if name == "measure_vc" else "output", *words)
            for name, words in self._measures().items()
        }
        both = ((_NORMS if self.norms else {}) | _UNITS).items()
        declared |= {name: Series("parameter", *words) for name, words in both}
        reason = _unbounded(flow, data)
        for name, words in _BOUNDS.items():
            declared[name] = reason or Series("1", *words)
        if not _is_relu(flow.network):
            declared["rademacher_lower"] = _NOT_RELU
        if isinstance(flow.network, DeepRelu) and flow.network.depth != 2:
            reason = f"the network has {flow.network.depth} layers, not two"
            return dict.fromkeys(declared, reason)
        return declared

    def _measures(self) -> dict[str, tuple[str, str]]:
        return _MEASURES | (_OF_PROGRAM if self.mode == "code2018" else {})

    def reference(self, start):
        params = [np.asarray(block, np.float64) for block in start.state.params]
        u, v, *biases = _as_layers(start.flow.network, params)
        y = np.asarray(start.data.y_train, np.float64)
        is_judged = _unbounded(start.flow, start.data) is None
        # Without bounds nothing but their dimension is asked of the points.
        rows = None if _is_relu(start.flow.network) else 2
        x = np.asarray(start.data.x_train)[:rows]
        return _Start(u, v, tuple(biases) or None, x, y if is_judged else None)

    def measure(self, look):
        blocks = {f"block_{i}": block for i, block in enumerate(look.state.params)}
        return blocks | {"outputs": look.once(train_outputs)}

    def finish(self, flow, found, reference):
        if isinstance(flow.network, DeepRelu) and flow.network.depth != 2:
            return {}
        wide = {name: np.asarray(a, np.float64) for name, a in found.items()}
        outputs = wide.pop("outputs")
        outputs = outputs.reshape(len(outputs), -1)
        params = [wide[f"block_{i}"] for i in range(len(wide))]
        u, v, *biases = _as_layers(flow.network, params)
        measures = capacity_measures(
            *(u, v, reference.u, reference.v, reference.x, reference.labels),
            mode=self.mode,
            biases=(biases[0], biases[1]) if biases else None,
            start_biases=reference.biases,
            fold_biases=self.fold_biases and bool(biases),
            outputs=None if reference.labels is None else outputs,
        )
        # A constant unit of folded biases is none of the network's.
        means = {name: measures[name][: len(u)].mean() for name in _UNITS}
        return means | {name: measures[name] for name in _NORMS | _MEASURES | _BOUNDS}


def _unbounded(flow: Any, data: Data) -> str | None:
    """Why there are no bounds of a network, if there are none."""
    if not _is_relu(flow.network):
        return _NOT_RELU
    if reason := unjudged(flow, data.y_train):
        return reason
    if len(np.unique(data.y_train)) < 2:
        return "the training points are all of one class"
    return None


def _is_relu(network: Any) -> bool:
    activation = getattr(network, "activation", None)
    return activation is None or isinstance(activation, Relu)


def _as_layers(network: Any, params: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """(U, V) and biases, if any, of f = V [U x + b]_+ + e."""
    first, second, *biases = params
    if isinstance(network, ReluClassifier):
        return first, second, *biases
    if isinstance(network, DeepRelu):
        there = int(network.neurons)
        return first[:there], float(network.output_scale) * second[:, :there]
    return first, float(network.alpha) / network.width * second[None, :]
