"""What is drawn together: the series of every panel, its scale, their looks."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from mfsim.figures.derived import KL_DECAY, TALAGRAND, TALAGRAND_EXACT
from mfsim.figures.layers import layer_looks, number_of
from mfsim.figures.style import EDGE, FLOOR, FULL, ITERATE, LOOKS, OPEN, POINTS

Words = Mapping[str, str]
"""A word for each series by its name; of one along the layers, with their numbers."""

Panels = Mapping[str, Words]
"""Such words by a panel's title."""

DRIFT = "kernel_drift_relative"
PANELS: Panels = {
    "risk": {
        "train_risk": "train",
        "test_risk": "test",
        "online_risk": "online",
        "iterate_risk": "random iterate, test",
    },
    "error": {
        "train_error": "train",
        "test_error": "test",
        "online_error": "online",
        "iterate_error": "random iterate, test",
    },
    "margin": {"margin": "low percentile, training points"},
    "ramp loss": {"ramp_loss": "train", "test_ramp_loss": "test"},
    "capacity": {
        "measure_l1": r"(2) $\ell_1$",
        "measure_frobenius": "(3) Frobenius",
        "measure_spectral_l21": r"(4) spectral, $\ell_{2,1}$",
        "measure_spectral_frobenius": "(5) spectral, Frobenius",
        "measure_unit_wise": "(6) unit-wise",
    },
    "unit norm": {"unit_capacity": "mean capacity", "unit_impact": "mean impact"},
    "relative change": {"displacement_relative": "displacement", DRIFT: "kernel drift"},
    "alignment": {"kernel_alignment": "kernel with labels"},
    "NTK gap": {
        "ntk_gap": "train, own kernel",
        "test_ntk_gap": "test, own kernel",
        "ntk_gap_infinite": "train, infinite width",
        "test_ntk_gap_infinite": "test, infinite width",
    },
    "twin gap": {"twin_gap": "train", "test_twin_gap": "test"},
    "kernel gap": {
        "kernel_descent_gap": "train, descent",
        "test_kernel_descent_gap": "test, descent",
        "kernel_flow_gap": "train, flow",
        "test_kernel_flow_gap": "test, flow",
    },
    "residual recursion": {"residual_recursion_relative": "error over kernel's step"},
    "eigenvalue": {
        "kernel_lambda_max": r"$\lambda_{\max}(H)$",
        "kernel_lambda_min": r"$\lambda_{\min}(H)$",
    },
    "distance": {
        "displacement": "raw displacement",
        "w2_upper_coupling": "coupled displacement",
        TALAGRAND: r"Talagrand, $\sigma\sqrt{2\,\mathrm{KL}^+}$",
        TALAGRAND_EXACT: r"Talagrand, $\sigma\sqrt{2\,\mathrm{KL}}$",
        "w2": "$W_2$, transport",
        "w2_upper": "$W_2$ bracket",
        "w2_lower": "",
    },
    "layer distance": {"layer_distance": "layer"},
    "coupled distance": {"w2_upper_layer": "layer"},
    "radius": {"layer_radius": r"largest layer distance times $m^a$"},
    "spectral norm": {"spectral_norm": "layer"},
    "gradient norm": {"gradient_norm": "layer"},
    "activation flips": {"activation_flips": "hidden layer"},
    "linearisation error": {
        "linearisation_error": "from the start",
        "linearisation_error_ball": "from now to a ball",
    },
    "almost convexity": {"almost_convexity": "risk above its tangent plane, at least"},
    "KL": {
        "kl_upper": "upper bound",
        "kl_lower": "lower bound",
        "kl_knn": "kNN estimate",
        "kl": "exact",
    },
    r"$\chi^2$": {"chi2_lower": "lower bound", "chi2": "exact"},
    "free energy": {
        "free_energy_upper": "upper bound",
        "free_energy_lower": "lower bound",
        "free_energy": "exact",
        "dual_energy": "dual bound",
    },
    "energy gap": {"gap_upper": "free energy above its minimum, at most"},
    "dissipation": {"dissipation": "fall of the free energy, $-dQ/dt$"},
    "KL rate": {
        "entropy_production": "gain from data, $S$",
        KL_DECAY: r"loss to noise and decay, $\lambda I$",
    },
}

LOGARITHMIC = (
    "capacity",
    "unit norm",
    "NTK gap",
    "twin gap",
    "kernel gap",
    "residual recursion",
    "eigenvalue",
    "distance",
    "layer distance",
    "coupled distance",
    "radius",
    "gradient norm",
    "linearisation error",
    "KL",
    r"$\chi^2$",
    "energy gap",
    "dissipation",
)
"""Titles of the panels that show positive values alone, on a logarithmic axis."""

SIGNED = ("almost convexity", "margin")
"""Titles of the panels whose values have a sign, which no logarithm shows."""

WHOLE = (
    "residual recursion",
    "gradient norm",
    r"$\chi^2$",
    "energy gap",
    "dissipation",
)
"""Of the logarithmic ones, those whose curves are shown down to their least value."""

BANDS = {
    "w2_upper": "w2_lower",
    "kl_upper": "kl_lower",
    "free_energy_upper": "free_energy_lower",
}
"""The lower bound that belongs to an upper one."""

# A series keeps its look when others of its panel were not recorded.
_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "train_risk": LOOKS[0],
    "test_risk": LOOKS[1],
    "online_risk": LOOKS[2],
    "iterate_risk": ITERATE,
    "train_error": LOOKS[0],
    "test_error": LOOKS[1],
    "online_error": LOOKS[2],
    "iterate_error": ITERATE,
    "w2_lower": EDGE,
    "w2_upper": EDGE,
    "displacement": LOOKS[0],
    "w2_upper_coupling": LOOKS[1],
    TALAGRAND: LOOKS[2],
    TALAGRAND_EXACT: LOOKS[2],
    "w2": POINTS,
    "kl_upper": LOOKS[0],
    "kl_lower": LOOKS[1],
    "kl_knn": POINTS,
    "kl": LOOKS[2],
    "chi2_lower": LOOKS[1],
    "chi2": LOOKS[2],
    "free_energy_upper": LOOKS[0],
    "free_energy_lower": LOOKS[1],
    "free_energy": LOOKS[2],
    "dual_energy": FLOOR,
    # A colour for each kernel; full markers on training points, open ones on test.
    "ntk_gap": LOOKS[0],
    "test_ntk_gap": LOOKS[0] | OPEN,
    "kernel_descent_gap": LOOKS[0],
    "test_kernel_descent_gap": LOOKS[0] | OPEN,
    "kernel_flow_gap": LOOKS[1] | FULL,
    "test_kernel_flow_gap": LOOKS[1] | OPEN,
    "ntk_gap_infinite": LOOKS[1] | FULL,
    "test_ntk_gap_infinite": LOOKS[1] | OPEN,
    **dict(zip(PANELS["capacity"], layer_looks(len(PANELS["capacity"])), strict=True)),
}


def looks(words: Words) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The series of a panel: name, word, look."""
    layered = [key for key in words if number_of(key) and key not in _LOOKS]
    own = {**_LOOKS, **dict(zip(layered, layer_looks(len(layered)), strict=True))}
    for (key, word), look in zip(words.items(), itertools.cycle(LOOKS), strict=False):
        yield key, word, {**own.get(key, look)}
