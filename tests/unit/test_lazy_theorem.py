"""The study of lazy training: its analysis on made-up runs of known powers."""

import dataclasses

import numpy as np
import pytest
import xarray

from mfsim.component import build, describe
from mfsim.studies import AbstractStudy
from mfsim.studies.lazy_theorem import LazyTheorem, measured
from mfsim.studies.lazy_theorem.measured import Part, excess
from mfsim.studies.lazy_theorem.rates import decay_rate, rate_ratio
from mfsim.studies.statistics import TooFew

STUDY = LazyTheorem(
    alphas=(4.0, 8.0, 16.0),
    noise_alphas=(4.0, 8.0, 16.0),
    plateau_alphas=(4.0, 8.0, 16.0, 64.0),
    seeds=3,
    num_train=2,
    noisy_points=2,
)
FLOOR = 0.1 * 2 / (2 * 32768)
"""lambda n/2m."""


def dataset(alphas, seeds, time, series):
    """Runs as a study gets them: each series a function of alpha, seed and time."""
    axes = np.meshgrid(alphas, range(seeds), time, indexing="ij")
    dims = ("alpha", "seed", "save")
    shape = axes[0].shape
    found = {k: (dims, np.broadcast_to(f(*axes), shape)) for k, f in series.items()}
    coords = {"alpha": list(alphas), "seed": list(range(seeds))}
    scales = {name: (dims, axes[2]) for name in ("time", "kernel_time", "step")}
    return xarray.Dataset(found, coords | scales)


def gradient_flow(seeds=3, factor=1.0):
    """Eigenvalues 1 and 0.5 at n = 2: the slowest mode of the risk falls at rate 1."""
    time = np.linspace(0, 20, 41)

    def risk(alpha, seed, t):
        return 0.5 * np.exp(-2 * factor * t) + 0.5 * np.exp(-factor * t)

    powers = {
        "kl_upper": -2,
        "w2": -1,
        "w2_lower": -1,
        "w2_upper_coupling": -1,
        "kernel_drift": -2,
        "ntk_gap": -4,
    }
    series = {
        name: lambda alpha, seed, t, power=power: (1 + seed) * alpha**power
        for name, power in powers.items()
    }
    runs = dataset(STUDY.alphas, seeds, time, series | {"train_risk": risk})
    shape = (len(STUDY.alphas), seeds, len(time), 2)
    dims = ("alpha", "seed", "save", "eigenvalue")
    runs["kernel_eigenvalues"] = (dims, np.broadcast_to([1.0, 0.5], shape))
    runs["kernel_label_projections"] = (dims, np.full(shape, 0.5))
    return runs


def noise(seeds=3):
    series = {
        "displacement": lambda alpha, seed, t: 3.7 + 0 * alpha,
        "w2_upper_coupling": lambda alpha, seed, t: 1 / alpha,
        "w2": lambda alpha, seed, t: 1 / alpha,
        "kl_upper": lambda alpha, seed, t: alpha**-2,
        "kernel_drift": lambda alpha, seed, t: alpha**-2,
        "ntk_gap": lambda alpha, seed, t: FLOOR + alpha**-4,
    }
    return dataset(STUDY.noise_alphas, seeds, np.linspace(0, 5, 6), series)


def plateau(seeds=3):
    """An excess of alpha^-4: five floors at alpha = 16, a fiftieth of one at 64."""

    def risk(alpha, seed, t):
        return FLOOR + alpha**-4 + np.where(t < 15, 1.0, 0.0)

    time = np.linspace(0, 30, 11)
    return dataset(STUDY.plateau_alphas, seeds, time, {"train_risk": risk})


@pytest.fixture(scope="module")
def found():
    """Findings, with the exact limits made up: the dual takes seconds for each."""

    class Limit:
        def __init__(self, flow, **_):
            self.risk = float(flow.network.alpha) ** -4

    parts = {"gradient_flow": gradient_flow(), "noise": noise(), "plateau": plateau()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "long_time_limit", Limit)
        return STUDY.analyse(parts)


def test_known_powers_come_out(found):
    values = [verdict.measured for verdict in found.verdicts]
    # A second mode of at most 1 % of the risk adds at most 0.01 (2 - 1) to the rate.
    assert values[0] == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(values[1:], [-2, -1, -2, -4, -4, 1, 0, -1], atol=1e-6)
    assert all(verdict.holds for verdict in found.verdicts)
    # Theorems' bounds stand beside: 4.4, 4.4, 4.7, 4.8 and the plateau's.
    bounds = ["−2", "−1", "−1", "−2", "−2"]
    for verdict, power in zip(found.verdicts[1:6], bounds, strict=True):
        assert f"by a power {power}" in verdict.note


def test_what_is_far_below_the_floor_is_left_out():
    part = Part(plateau(), lambda a, s: STUDY.long(alpha=a, seed=s).flow, 3.0)
    assert part.floor == pytest.approx(FLOOR)
    power = part.exponent(excess(part))
    assert power.value == pytest.approx(-4, abs=1e-6)
    assert "left out as below 0.25 of the floor λn/2m: α = 64" in power.warning
    few = dataclasses.replace(part, runs=part.runs.isel(alpha=slice(1, None)))
    with pytest.raises(TooFew, match="points must be 3 or more"):
        few.exponent(excess(few))


def test_rates_of_another_kernel_are_told():
    part = Part(gradient_flow(factor=2.0), STUDY.quiet, 3.0)
    assert rate_ratio(part).value == pytest.approx(2, abs=0.02)
    with pytest.raises(TooFew, match="seeds must be 3 or more"):
        rate_ratio(Part(gradient_flow(seeds=2), STUDY.quiet, 3.0))


def test_tables_and_charts(found):
    tables = {table.name: table for table in found.tables}
    for table in found.tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
    exponents = np.array([row[4:8] for row in tables["lazy_exponents"].rows], float)
    # Measured, and the true power of the law.
    np.testing.assert_allclose(exponents[:, 0], exponents[:, 3], atol=1e-6)
    assert all(row[5].startswith("vacuous") for row in tables["lazy_bounds"].rows)
    # alpha times the power -1 of the made-up W2 of seeds 0, 1, 2.
    limits = np.array(tables["lazy_limits"].rows)
    np.testing.assert_allclose(limits[:, 4], [1, 2, 3])
    names = [chart.name for chart in found.charts]
    assert names == [
        "lazy_exponents",
        "lazy_training",
        "lazy_plateau",
        "lazy_displacement",
    ]


def test_two_slowest_modes_alike_have_no_window():
    time = np.linspace(0, 50, 101)
    risk = np.exp(-time)
    eigenvalues, shares = np.array([0.5001, 0.5]), np.array([0.5, 0.5])
    assert np.isnan(decay_rate(time, risk, eigenvalues, shares).measured)


def test_experiments():
    study = LazyTheorem().quick()
    flow, noise, plateau = study.experiments()
    assert [len(s.points) for s in (flow, noise, plateau)] == [24, 20, 24]
    for sweep, end in ((noise, 5.0), (plateau, 30.0)):
        for point in sweep.points:
            experiment = point.experiment
            alpha = point.values["alpha"]
            assert experiment.schedule.horizon == pytest.approx(end * alpha**2)
            assert experiment.flow.temperature == 0.1
            # Bounds of neurons want m far above alpha^2.
            assert experiment.flow.network.width >= 32 * alpha**2
    assert flow.points[0].experiment.dtype == "float64"
    assert flow.points[0].experiment.flow.temperature == 0
    seeds = {(p.experiment.seed, p.experiment.flow.dataset.seed) for p in flow.points}
    assert seeds == {(k, k) for k in range(4)}
    assert build(AbstractStudy, describe(study)) == study


@pytest.mark.parametrize("name", ["alphas", "noise_alphas", "plateau_alphas"])
def test_alphas_in_falling_order_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        LazyTheorem(**{name: (2.0, 1.0)})
