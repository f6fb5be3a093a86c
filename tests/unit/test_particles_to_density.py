"""The study of particles and their density: its analysis on made-up runs."""

import numpy as np
import pytest
import xarray

from mfsim.component import build, describe
from mfsim.studies import AbstractStudy
from mfsim.studies.particles_to_density import ParticlesToDensity
from mfsim.studies.particles_to_density.compared import Compared
from mfsim.studies.statistics import TooFew

STUDY = ParticlesToDensity(
    widths=(16, 64, 256), seeds=4, step_seeds=4, horizon=1.2, cells=64
)
FIVE = (
    "FiniteVolume",
    "Proximal",
    "NoisyGD",
    "ExponentialLangevin",
    "DiffraxSolver",
)
SIGNS = np.array([1.0, -1.0, 1.0, 1.0])


def runs(axes, span, horizon, **series):
    """Series over the axes and saves, each given over the axes alone."""
    sizes = tuple(len(values) for values in axes.values())
    time = np.arange(round(horizon / span) + 1) * span
    dims = (*axes, "save")
    shape = (*sizes, len(time))

    def over_time(values):
        return np.broadcast_to(np.broadcast_to(values, sizes)[..., None], shape)

    found = {name: (dims, over_time(values)) for name, values in series.items()}
    scales = {name: (dims, np.broadcast_to(time, shape)) for name in ("time", "step")}
    return xarray.Dataset(found, {k: list(v) for k, v in axes.items()} | scales)


def grid():
    """An error of second order: 0.004 on 32 cells, 0.001 on 64."""
    error = np.array([0.004, 0.001])
    return runs(
        {"cells": (32, 64)}, 0.1, 1.2, output_mean=0.1, output_std=0.5 + error, kl=0.3
    )


def widths():
    """3 m^-1/2 and 4 m^-1/2 in mean and spread: 5 m^-1/2 in all."""
    scatter = np.array([16, 64, 256])[:, None] ** -0.5 * SIGNS
    axes = {"width": STUDY.widths, "seed": range(4)}
    mean, std = 0.1 + 3 * scatter, 0.5 - 4 * scatter
    return runs(axes, 0.1, 1.2, output_mean=mean, output_std=std)


def steps():
    error = 0.05 * np.array(STUDY.steps)[None, :, None] * np.ones((2, 1, 4))
    axes = {
        "integrator": ("NoisyGD", "ExponentialLangevin"),
        "eta": STUDY.steps,
        "seed": range(4),
    }
    return runs(axes, 0.4, 1.2, output_mean=0.1, output_std=0.5 + error)


def integrators(upper=0.4):
    grids = np.array([0.3, 0.3, np.nan, np.nan, np.nan])
    cloud = np.array([np.nan, np.nan, 1.0, 1.0, 1.0])
    bounds = np.array([np.nan, np.nan, 1.0, 1.0, np.nan])
    return runs(
        {"integrator": FIVE},
        0.1,
        1.2,
        train_risk=0.2,
        output_mean=0.1,
        output_std=0.5 + np.array([0.001, 0.01, 0.02, 0.03, 0.05]),
        kl=grids,
        kl_lower=0.2 * cloud,
        kl_lower_se=0.01 * cloud,
        kl_knn=0.3 * cloud,
        kl_upper=upper * bounds,
        kl_upper_se=0.01 * bounds,
    )


def analyse(**parts):
    made = {"grid": grid(), "widths": widths(), "steps": steps()}
    return STUDY.analyse(made | {"integrators": integrators()} | parts)


def test_known_orders_come_out():
    found = analyse()
    scatter, order, agree, in_order = found.verdicts
    assert scatter.measured == pytest.approx(-0.5, abs=1e-9)
    # Against the finer grid alone, 0.001 off, the order would be 1.15.
    assert order.measured == pytest.approx(1, abs=1e-9)
    # 0.05 of DiffraxSolver over 5/sqrt(4096).
    assert agree.measured == pytest.approx(0.05 * 64 / 5)
    assert in_order.measured == 1
    assert all(verdict.holds for verdict in found.verdicts)
    assert "DiffraxSolver" in agree.note


def test_a_bound_that_fails_is_told():
    # 0.2 + 3 * 0.01 is below the density's 0.3.
    found = analyse(integrators=integrators(upper=0.2)).verdicts[3]
    assert found.measured == 0
    assert found.holds is False


def test_outputs_far_from_the_density_are_told():
    far = integrators()
    far["output_mean"] = far.output_mean + 0.5
    found = analyse(integrators=far).verdicts[2]
    # At least 0.5 over 5/64, more than three distances.
    assert found.measured > 0.5 * 64 / 5
    assert found.holds is False


def test_an_error_that_noise_hides_has_no_order():
    noisy = steps()
    noisy["output_std"] = noisy.output_std + 0.02 * xarray.DataArray(SIGNS, dims="seed")
    found = analyse(steps=noisy).verdicts[1]
    assert found.holds is None
    assert "step_width must be large enough" in found.note


def test_an_integrator_without_a_run_is_not_passed_over():
    lost = integrators()
    lost = lost.where(lost.integrator != "NoisyGD")
    _, _, agree, in_order = analyse(integrators=lost).verdicts
    for verdict in (agree, in_order):
        assert (verdict.measured, verdict.holds) == (None, None)
        assert "got none of ['NoisyGD']" in verdict.note


def test_too_few_widths_say_nothing():
    few = widths().isel(width=slice(0, 2))
    part = Compared(
        grid().isel(cells=1),
        grid().isel(cells=0),
        few,
        steps(),
        integrators(),
        4096,
        "",
    )
    with pytest.raises(TooFew, match="points must be 3 or more"):
        _ = part.scatter


def test_tables_and_charts():
    found = analyse()
    tables = {table.name: table for table in found.tables}
    for table in found.tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
    by_width = np.array(tables["particles_by_width"].rows)
    np.testing.assert_allclose(by_width[:, -1], 5)
    by_step = tables["particles_by_step"].rows
    np.testing.assert_allclose([row[-1] for row in by_step], 0.05)
    names = [chart.name for chart in found.charts]
    assert names == ["particles_integrators", "particles_orders"]
    assert [curve.label for curve in found.charts[0].panels[0].curves] == list(FIVE)


def test_experiments():
    study = ParticlesToDensity().quick()
    grids, clouds, stepped, five = study.experiments()
    assert [len(s.points) for s in (grids, clouds, stepped, five)] == [2, 48, 36, 5]
    # The density is run once, for the truth and for the picture.
    shared = {p.experiment.fingerprint() for p in grids.points} & {
        p.experiment.fingerprint() for p in five.points
    }
    assert len(shared) == 1
    for point in stepped.points:
        experiment = point.experiment
        steps = experiment.schedule.total_steps(float(experiment.integrator.step))
        assert steps * point.values["eta"] == pytest.approx(1.2)
        assert len(experiment.schedule.save_steps(steps)) == 4
    assert not clouds.points[0].experiment.flow.network.antithetic
    assert build(AbstractStudy, describe(study)) == study


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": (64, 16)}, "widths must be positive numbers in rising order"),
        ({"steps": (0.1, 0.2)}, "steps must be numbers in falling order"),
        ({"steps": (0.3, 0.1)}, "steps must be whole parts of 0.4"),
        ({"steps": (0.1, 0.0)}, "steps must be whole parts of 0.4"),
        ({"horizon": 1.25}, "horizon must be a multiple of 0.1"),
        ({"step_horizon": 1.0}, "step_horizon must be a multiple of 0.4"),
        ({"step_horizon": 8.0}, "step_horizon must be at most horizon = 4"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ParticlesToDensity(**fields)
