"""One curve for all widths: KL, displacement and kernel drift against alpha alone.

A net alpha_G (f - f_0), f = h^(-1/2) sum, of h neurons a layer is alpha = sqrt(h)
alpha_G here, the variable in which the paper's curves of several h collapse. Below the
crossover the relative drift of the kernel goes like alpha^(-2/(1 + 1/L)), L the number
of hidden layers: alpha^(-1) for two-layer nets.

Source: Geiger, Spigler, Jacot, Wyart 2020 (arXiv 1906.08034), sec. 4.
"""

from collections.abc import Sequence

import numpy as np
import xarray

from mfsim.activations import Softplus
from mfsim.datasets import Digits
from mfsim.datasets.prepare import Prepare
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Chart, Curve, Findings, Panel, Table, Verdict
from mfsim.flows import ParticleFlow
from mfsim.integrators import NoisyGD
from mfsim.networks import TwoLayer
from mfsim.observables import KL, Displacement, KernelDrift, Risk
from mfsim.studies.base import grid, judge_near, last
from mfsim.studies.lazy_training.curves import seed_curve
from mfsim.studies.statistics import Estimate, collapse, local_exponents, log_log_slope
from mfsim.sweep import Sweep

SERIES = {
    "kl_upper_production": "KL(p‖p₀) [nat]",
    "displacement_relative": "displacement |θ − θ₀|/|θ₀|",
    "kernel_drift_relative": "kernel drift ‖H − H₀‖/‖H₀‖",
}
"""What is put over alpha; kl_upper_production is exact where lambda = 0."""

FITTED = 1e-2
"""Mean squared error, of labels -1 and 1, at which training ends."""

BELOW = 0.1
"""The condensed side: a decade below the crossover, which is of order one."""

EXPONENT = -1.0
"""-2/(1 + 1/L) at L = 1."""


def sweep(widths: Sequence[int], alphas: Sequence[float], seeds: int) -> Sweep:
    """Every alpha at every width."""
    axes = {"width": widths, "alpha": alphas, "seed": range(seeds)}
    return grid("width_collapse", axes, experiment)


def experiment(*, width: int, alpha: float, seed: int) -> Experiment:
    """Digits 3 against 8, learnt by gradient flow from f = 0."""
    flow = ParticleFlow(
        network=TwoLayer(width=width, alpha=alpha, activation=Softplus(beta=5.0)),
        dataset=Digits(
            classes=(3, 8),
            num_train=50,
            num_test=0,
            seed=seed,
            prepare=Prepare(pca=10, unit_norm=True),
        ),
    )
    return Experiment(
        flow,
        # H grows like 1/alpha below alpha = 1; KL by production is first order in it.
        NoisyGD(0.25 * min(1 / alpha**2, 1 / alpha)),
        Schedule(
            num_steps=3000,
            saves=24,
            spacing="log",
            snapshots=0,
            stop=f"train_risk < {FITTED:g}",
        ),
        observables=(
            Risk(),
            Displacement(),
            KernelDrift(),
            KL(max_points=1, num_samples=64, max_particles=64),
        ),
        seed=seed,
    )


def report(runs: xarray.Dataset) -> Findings:
    """Powers of the width that collapse the curves, and the exponent below."""
    alphas = runs.alpha.values.astype(float)
    widths = runs.width.values.astype(float)
    curves = {
        name: last(runs, name).transpose("width", "alpha", "seed").values
        for name in SERIES
    }
    setting = (
        f"λ = 0, n = 50, m = {', '.join(f'{m:g}' for m in widths)}, "
        f"α = {alphas[0]:.3g} … {alphas[-1]:g}, {runs.sizes['seed']} seeds"
    )
    return Findings(
        verdicts=(
            *(
                _collapse(name, widths, alphas, curves[name], setting)
                for name in ("kl_upper_production", "displacement_relative")
            ),
            _exponent(widths, alphas, curves["kernel_drift_relative"]),
        ),
        tables=(_table(widths, alphas, curves),),
        charts=(_chart(widths, alphas, curves, setting),),
    )


def _collapse(
    name: str,
    widths: np.ndarray,
    alphas: np.ndarray,
    values: np.ndarray,
    setting: str,
) -> Verdict:
    places = np.tile(alphas, (len(widths), 1))
    return judge_near(
        f"Curves of {SERIES[name].split(' ')[0]} at all widths are one over α/m^ν, "
        f"that is over √h·α_G ({setting})",
        "ν = 0 ± 0.05",
        lambda: collapse(places, values, widths),
        value=0,
        tolerance=0.05,
        note="in α_G, the paper's scale, ν would be −1/2",
    )


def _exponent(widths: np.ndarray, alphas: np.ndarray, drift: np.ndarray) -> Verdict:
    below = alphas < BELOW
    _, above = local_exponents(alphas, drift[-1])
    lazy = float(np.nanmean(above[-1])) if np.isfinite(above[-1]).any() else np.nan

    def measure() -> Estimate:
        return log_log_slope(alphas[below], drift[-1][below])

    return judge_near(
        "The relative drift of the kernel goes like α^s below the crossover (λ = 0, "
        f"n = 50, m = {widths[-1]:g}, α < {BELOW:g}, {drift.shape[-1]} seeds)",
        f"{EXPONENT:g} ± 0.1 (−2/(1 + 1/L), L = 1)",
        measure,
        value=EXPONENT,
        tolerance=0.1,
        note=f"at the largest α it is {lazy:.2f}: pairs of neurons cancel the first "
        "order, so that it tends to −2 and not, as without them, to −1",
    )


def _table(
    widths: np.ndarray, alphas: np.ndarray, curves: dict[str, np.ndarray]
) -> Table:
    rows = tuple(
        (float(m), float(alpha), *(_mean(curves[name][i, j]) for name in SERIES))
        for i, m in enumerate(widths)
        for j, alpha in enumerate(alphas)
    )
    title = "What α does at each width: geometric means over seeds."
    return Table("gei_collapse", title, ("m", "α", *SERIES.values()), rows)


def _mean(samples: np.ndarray) -> float | None:
    samples = samples[np.isfinite(samples) & (samples > 0)]
    return float(np.exp(np.log(samples).mean())) if len(samples) else None


def _chart(
    widths: np.ndarray,
    alphas: np.ndarray,
    curves: dict[str, np.ndarray],
    setting: str,
) -> Chart:
    panels = []
    for name, label in SERIES.items():
        lines = [
            seed_curve(f"m = {m:g}", alphas, values)
            for m, values in zip(widths, curves[name], strict=True)
        ]
        if name == "kernel_drift_relative":
            lines.append(_reference(alphas, lines[-1]))
        panels.append(Panel("α = √h·α_G", label, tuple(lines)))
    return Chart(
        "gei_collapse",
        f"KL, displacement and kernel drift once digits 3 and 8 are learnt, {setting}. "
        "Bars are 95 % intervals.",
        tuple(panels),
    )


def _reference(alphas: np.ndarray, curve: Curve) -> Curve:
    x = alphas[alphas <= 1]
    y = curve.y[0] * (x / alphas[0]) ** EXPONENT
    return Curve("α⁻¹", tuple(map(float, x)), tuple(map(float, y)), look="reference")
