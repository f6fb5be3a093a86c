"""How large is the class of a trained two-layer ReLU network, by six measures?

f(x) = V [U x]_+ with h hidden units, d inputs and c outputs, trained from U_0, V_0 on N
points X: Neyshabur, Li, Bhojanapalli, LeCun, Srebro 2019 (NEY, arXiv 1805.12076). The
norms, their products and the bounds are taken as natural logarithms, so that the
logarithms are finite where a product is beyond the largest float.
"""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Array, Real

from mfsim.theory.capacity.bounds import Setting, log_bound, log_capacities
from mfsim.theory.capacity.margin_law import MarginLaw, log_positive, margin_law
from mfsim.theory.capacity.network import (
    TrainedNetwork,
    check_choices,
    check_network,
    folded,
)
from mfsim.theory.capacity.norms import (
    InputNorms,
    exp,
    input_norms,
    log,
    log_frobenius,
    log_rows,
    log_spectral,
    log_sum,
    scaled_outputs,
)
from mfsim.theory.capacity.unit_class import UnitClass, unit_class

MEASURES = (
    "vc",
    "l1",
    "frobenius",
    "spectral_l21",
    "spectral_frobenius",
    "unit_wise",
)
"""The measures (1) to (6) of Table 1, in its order."""


def capacity_measures(
    u: Real[Array | np.ndarray, "h d"],
    v: Real[Array | np.ndarray, "_ _"],
    u0: Real[Array | np.ndarray, "_ _"],
    v0: Real[Array | np.ndarray, "_ _"],
    x: Real[Array | np.ndarray, "n _"],
    labels: Real[Array | np.ndarray, " _"] | None,
    *,
    mode: str = "paper",
    biases: tuple[Any, Any] | None = None,
    start_biases: tuple[Any, Any] | None = None,
    fold_biases: bool = False,
    outputs: Real[Array | np.ndarray, "..."] | None = None,
    margin: float | None = None,
    delta: float = 0.01,
) -> dict[str, Any]:
    """Norms, measures, Rademacher complexities and bounds of a two-layer ReLU network.

    Modes: "paper" has the formulas as printed, for networks without biases. "code2018"
    has what the authors' program computed: norms of the weight matrices alone, biases
    counting as parameters, in the margins and in |[U_0 X + b_0]_+|_F; sqrt(c) on the
    V-term of measure 5, no sqrt(h) in measure 6, and its bounds to the letter, but for
    its margin, as none of its margins is positive.

    Args:
        u: Input weights U, (h, d), one row a unit.
        v: Output weights V, (c, h), one column a unit.
        u0: Input weights U_0 of the start, (h, d).
        v0: Output weights V_0 of the start, (c, h).
        x: Training points, (n, d), one a row.
        labels: Class numbers 0 ... c - 1, or -1 and 1 where c = 1; with None there is
            no loss and no margin but the one given, and what takes them is NaN.
        mode: Which formulas.
        biases: Biases (b, e) of f = V [U x + b]_+ + e, (h,) and (c,).
        start_biases: Those of the start.
        fold_biases: In "paper": take them as weights of a constant last input 1 and a
            constant last hidden unit, whose input weights are (0, ..., 0, 1).
        outputs: f at the points, (n, c), for margins of a network of another kind.
        margin: gamma; the 5th percentile of the training margins unless given.
        delta: Probability with which a bound may fail.

    Returns:
        In float64, by name; `log_` before a name is its natural logarithm.
        `unit_capacity` |u_j - u_j^0| and `unit_impact` |v_j|, (h,); `scale_free`, the
        sum of their products. Norms: `u_` and `v_` with `spectral`, `frobenius`,
        `l1_max` (largest l1 norm of a row), `distance_frobenius`, `distance_row_sum`
        (sum of the l2 norms of the rows, from the start); `u0_spectral`, `x_frobenius`.
        `measure_` with each of `MEASURES`. `margin`, `ramp_loss`, `train_error`.
        `rademacher_upper`: eq. (6), of the ramp loss on the class |v_j| <= alpha_j,
        |u_j - u_j^0| <= beta_j. `rademacher_class_upper`, `rademacher_lower` and
        `rademacher_lower_at_zero` (U_0 = 0): of the outputs of that class, as in
        `rademacher_search`. `bound_` with each of `MEASURES`: of the 0-1 error, so
        vacuous from 1 on, L + sqrt(C/N), L the ramp loss, or the training error for
        `bound_vc`; C, the number of samples at which the root is 1, which is what the
        program prints, is `bound_..._samples`. `program_margin`: what the program takes
        for the margin, never positive.
        `notes`: What is to be known of these numbers, in sentences.

    Raises:
        ValueError: If shapes do not match, an entry is no real number or beyond 1e300,
            a label is none of the network's, all labels are alike, `delta` is not
            within (0, 1), or there are biases in "paper" that are not to be folded in.

    Cost: 2 n h d multiplications, half of them where `outputs` are given, and h d^2 for
    each spectral norm, d <= h; a minute at h = 8192, d = 784, n = 60000 on 2 cores.
    Blocks of rows of x are in memory, not n x h.
    Source: Neyshabur et al. 2019, Table 1, Theorems 1 to 3; github.com/bneyshabur/
    over-parametrization, `measures.py`.
    """
    given = check_network((u, v, u0, v0), (x, labels, outputs), (biases, start_biases))
    check_choices(mode, given.biases is not None, fold_biases, margin, delta)
    program = mode == "code2018"
    network = given if program else folded(given)
    law = _margin_law(network, None if margin is None else float(margin))
    inputs = input_norms(network.x)
    norms, units = _norms(network), _units(network, inputs)
    measures = _measures(network, norms, program)
    rademacher = {
        "scale_free": units.log_scale_free,
        "rademacher_upper": units.log_ramp_upper(law.log_margin),
        "rademacher_class_upper": units.log_upper(),
        "rademacher_lower": units.log_lower(),
        "rademacher_lower_at_zero": units.log_lower_at_zero(),
    }
    bounds = _bounds(
        _setting(network, units, norms, inputs, law.log_margin, float(delta), program),
        law,
    )
    products = rademacher | measures | bounds
    return {
        "unit_capacity": np.exp(units.capacity),
        "unit_impact": np.exp(units.impact),
        **{name: exp(value) for name, value in norms.items()},
        "x_frobenius": exp(inputs.frobenius),
        **asdict(law),
        **{name: exp(value) for name, value in products.items()},
        **{f"log_{name}": value for name, value in products.items()},
        "measure_vc": float(_counted(network, program)),
        "notes": _notes(given, network, law, bounds, program),
    }


def _margin_law(network: TrainedNetwork, margin: float | None) -> MarginLaw:
    if network.labels is None:
        given = math.nan if margin is None else margin
        return MarginLaw(given, log_positive(given))
    if network.outputs is not None:
        return margin_law(network.outputs, 0.0, network.labels, margin)
    outputs, scale = scaled_outputs(network.u, network.v, network.x, network.biases)
    return margin_law(outputs, scale, network.labels, margin)


def _norms(network: TrainedNetwork) -> dict[str, float]:
    logs = {}
    layers = (("u", network.u, network.u0), ("v", network.v, network.v0))
    for name, weights, start in layers:
        moved = weights - start
        logs |= {
            f"{name}_spectral": log_spectral(weights),
            f"{name}_frobenius": log_frobenius(weights),
            f"{name}_l1_max": float(log_rows(weights, order=1).max()),
            f"{name}_distance_frobenius": log_frobenius(moved),
            f"{name}_distance_row_sum": log_sum(log_rows(moved)),
        }
    return logs | {"u0_spectral": log_spectral(network.u0)}


def _counted(network: TrainedNetwork, program: bool) -> int:
    """Measure 1: the entries of U, or all the parameters in the program."""
    return network.parameters if program else network.u.size


def _measures(
    network: TrainedNetwork, n: dict[str, float], program: bool
) -> dict[str, float]:
    """Logs of Table 1, or of what the program prints as those measures."""
    h, _, c = network.shape
    root, classes = math.log(h) / 2, 0.0
    unit_wise = [n["u0_spectral"], n["u_distance_frobenius"]]
    last = [root]
    if program:
        classes, last = math.log(c) / 2, []
    return {
        "measure_vc": math.log(_counted(network, program)),
        "measure_l1": n["u_l1_max"] + n["v_l1_max"],
        "measure_frobenius": n["u_frobenius"] + n["v_frobenius"],
        "measure_spectral_l21": log_sum(
            n["u_spectral"] + n["v_distance_row_sum"],
            n["u_distance_row_sum"] + n["v_spectral"],
        ),
        "measure_spectral_frobenius": log_sum(
            classes + n["u_spectral"] + n["v_distance_frobenius"],
            root + n["u_distance_frobenius"] + n["v_spectral"],
        ),
        "measure_unit_wise": log_sum(
            *(norm + n["v_frobenius"] for norm in unit_wise), *last
        ),
    }


def _units(network: TrainedNetwork, inputs: InputNorms) -> UnitClass:
    return unit_class(
        u0=network.u0,
        capacity=log_rows(network.u - network.u0),
        impact=log_rows(network.v.T),
        x=network.x,
        inputs=inputs.frobenius,
        outputs=len(network.v),
        bias=None if network.start_biases is None else network.start_biases[0],
    )


def _setting(
    network: TrainedNetwork,
    units: UnitClass,
    norms: dict[str, float],
    inputs: InputNorms,
    log_margin: float,
    delta: float,
    program: bool,
) -> Setting:
    start = units.start.biased if program else units.start.linear
    return Setting(
        norms=norms,
        inputs=inputs,
        start=log_sum(2 * start) / 2,
        log_margin=log_margin,
        samples=units.samples,
        dim=units.dim,
        hidden=len(network.u),
        outputs=units.outputs,
        parameters=network.parameters,
        delta=delta,
        program=program,
    )


def _bounds(setting: Setting, law: MarginLaw) -> dict[str, float]:
    """Logs of the bounds on the error, and of their numbers of samples."""
    logs = {}
    for name, capacity in log_capacities(setting).items():
        loss = law.train_error if name == "vc" else law.ramp_loss
        bound = log_bound(float(log(loss)), capacity, setting.samples)
        logs |= {f"bound_{name}": bound, f"bound_{name}_samples": capacity}
    return logs


def _notes(
    given: TrainedNetwork,
    network: TrainedNetwork,
    law: MarginLaw,
    bounds: dict[str, float],
    program: bool,
) -> tuple[str, ...]:
    notes = []
    if network is not given:
        notes.append(
            "Biases are folded in as weights of a constant last input and of a "
            "constant last hidden unit, which counts among the units."
        )
    if network.x.shape[1] == 1:
        notes.append("bound_l1 has sqrt(log d) for a factor, which is 0 at d = 1.")
    if network.labels is None:
        absent = "no margin and " if math.isnan(law.margin) else ""
        return (*notes, f"There are no labels, hence {absent}no bounds.")
    if network.outputs is not None:
        notes.append(
            "Margins are those of the outputs given; measures are of U and V alone, "
            "and bounds hold where the outputs are V [U x]_+."
        )
    if program:
        notes.append(
            "The program's margin subtracts the largest of all outputs, f_y among "
            f"them: {law.program_margin:g}, never positive. The margin here leaves "
            "f_y out, and the bounds are by it."
        )
    if law.log_margin == -math.inf:
        notes.append(
            f"The margin is {law.margin:g}, not positive: bounds that divide by it "
            "are infinite, and ramp_loss is the training error."
        )
    vacuous = [name for name in MEASURES if not bounds[f"bound_{name}"] < 0]
    if vacuous:
        notes.append(f"Vacuous, at least 1 for an error: {', '.join(vacuous)}.")
    return tuple(notes)
