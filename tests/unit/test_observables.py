"""What the observables of the law refuse, leave out with a reason, or count as NaN."""

import dataclasses

import equinox as eqx
import numpy as np
import pytest

import mfsim
from mfsim.activations import Relu, Softplus
from mfsim.datasets import SphereTeacher, TwoClassSphere
from mfsim.divergences import wasserstein
from mfsim.ensemble.measured import declare
from mfsim.errors import ConfigError
from mfsim.observables import (
    KL,
    MMD,
    Audit,
    Certificate,
    ChiSquare,
    Displacement,
    FreeEnergy,
    KernelDrift,
    Wasserstein,
)
from mfsim.series import Series

DATASET = TwoClassSphere(dim=3, num_train=8, num_test=0)
OF_THE_LAW = [KL(), Wasserstein(), ChiSquare(), MMD(), FreeEnergy(), Certificate()]


def make(*observables, integrator=None, flow=None, **network):
    network = mfsim.TwoLayer(**({"width": 32} | network))
    return mfsim.Experiment(
        flow=mfsim.ParticleFlow(
            network, DATASET, **({"temperature": 0.1} | (flow or {}))
        ),
        integrator=integrator or mfsim.ExponentialLangevin(0.05),
        schedule=mfsim.Schedule(num_steps=4, saves=3, snapshots=0),
        observables=observables,
    )


def declared(experiment):
    """Names of series, and reasons by the name of what is absent."""
    found = declare(experiment, DATASET.load())
    absent = {name: why for name, why in found.items() if isinstance(why, str)}
    return set(found) - set(absent), absent


@pytest.mark.parametrize("observable", [*OF_THE_LAW, Audit()], ids=repr)
def test_without_a_shadow_they_are_refused_by_name(observable):
    experiment = make(observable, flow={"shadow": False})
    name = type(observable).__name__
    with pytest.raises(ConfigError, match=rf"observables\[0\] {name} must have the sh"):
        declared(experiment)


@pytest.mark.parametrize("observable", [*OF_THE_LAW, Audit()], ids=repr)
def test_a_flow_without_neurons_is_refused_with_an_alternative(observable):
    with pytest.raises(ValueError, match="a flow of kind ParticleFlow, .*leave it out"):
        observable.declare(object(), mfsim.NoisyGD(0.1), DATASET.load())


def test_too_few_neurons_are_refused():
    with pytest.raises(ConfigError, match="at least 4 neurons"):
        declared(make(Wasserstein(), width=2))


def test_displacement_takes_the_input_weights_alone(tmp_path):
    schedule = mfsim.Schedule(num_steps=4, saves=3, snapshots=2)
    experiment = dataclasses.replace(make(Displacement(blocks=True)), schedule=schedule)
    run = mfsim.run(experiment, tmp_path / "a.h5")
    first, last = run.snapshots["neurons"][[0, -1], :, :-1]
    expected = np.linalg.norm(last - first) / np.linalg.norm(first)
    # Sums of some hundred squares of the run's float32, taken in float64.
    assert expected > 0.01
    found = run.series["displacement_relative_w"].values[-1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_kernel_drift_does_without_a_shadow():
    series, _ = declared(make(KernelDrift(), flow={"shadow": False}))
    assert "kernel_drift" in series


def test_a_kink_leaves_production_out_by_name():
    series, absent = declared(make(*OF_THE_LAW, Audit(), activation=Relu()))
    assert "kl_upper_production" in absent
    assert "Relu has no h''" in absent["kl_upper_production"]
    assert {"kl_upper", "kl_upper_path", "kl_upper_energy", "kl_lower"} < series
    assert {"w2_upper_talagrand", "gap_upper", "chi2_lower", "mmd"} < series
    assert "no h''" in absent["audit_risk"]
    # Random features need no h''.
    series, _ = declared(make(KL(), activation=Relu(), trainable="output"))
    assert "kl_upper_production" in series


def test_without_noise_path_and_energy_are_left_out():
    series, absent = declared(make(*OF_THE_LAW, flow={"temperature": 0.0}))
    for name in ("kl_upper_path", "kl_upper_energy", "gap_upper", "dual_energy"):
        assert "temperature is 0" in absent[name]
        assert name not in series
    assert {"kl_upper", "kl_upper_production", "free_energy_upper"} < series


def test_a_kink_without_noise_leaves_no_upper_bound():
    experiment = make(*OF_THE_LAW, activation=Relu(), flow={"temperature": 0.0})
    series, absent = declared(experiment)
    assert {"kl_upper", "w2_upper_talagrand"} <= set(absent)
    # lambda KL is zero however large KL is, and the coupling needs no KL.
    assert {"free_energy_upper", "w2_upper", "kl_lower"} < series


def test_batches_leave_only_the_path():
    integrator = mfsim.NoisyGD(0.05, batch_size=4)
    series, absent = declared(make(*OF_THE_LAW, Audit(), integrator=integrator))
    for name in ("kl_upper_production", "kl_upper_energy", "audit_outputs"):
        assert "batches" in absent[name]
    assert {"kl_upper", "kl_upper_path"} < series


def test_too_many_pairs_are_refused_with_what_would_do():
    experiment = make(Wasserstein(max_pairs=10**5, exact_below=0), width=10**5)
    with pytest.raises(ConfigError, match="max_pairs must be at most") as refusal:
        declared(experiment)
    most = int(str(refusal.value).split("at most ")[1].split(",")[0])
    allowed = Wasserstein(max_pairs=most, exact_below=0)
    assert declared(make(allowed, width=10**5))


def test_more_neighbours_than_neurons_are_refused():
    with pytest.raises(ConfigError, match=r"observables\[0\] neighbours must be below"):
        declared(make(KL(neighbours=40), width=32))


@pytest.mark.parametrize("kind", [mfsim.Tanh, Softplus, Relu])
def test_a_run_records_all_that_was_declared(kind, tmp_path):
    experiment = make(*OF_THE_LAW, Audit(), activation=kind())
    run = mfsim.run(experiment, tmp_path / "run.h5")
    series, absent = declared(experiment)
    assert set(run.series.data_vars) == series
    assert dict(run.absent) == absent
    for name in series:
        assert np.isfinite(run.series[name]).all(), name
    lower, upper = run.series.kl_lower, run.series.kl_upper
    slack = 3 * (run.series.kl_lower_se + run.series.kl_upper_se.fillna(0))
    assert (lower <= upper + slack).all()


@pytest.mark.long
def test_many_dimensions_leave_no_nan(tmp_path):
    # The size of MNIST's images: covariances of 785 coordinates of 64 neurons are out
    # of the question, so that moments are taken along a few directions.
    experiment = make(*OF_THE_LAW, Audit(), width=64)
    dataset = SphereTeacher(dim=784, num_train=12, num_test=0)
    experiment = eqx.tree_at(lambda e: e.flow.dataset, experiment, dataset)
    run = mfsim.run(experiment, tmp_path / "run.h5")
    for name, values in run.series.data_vars.items():
        assert np.isfinite(values).all(), name


def test_transport_that_does_not_converge_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(wasserstein, "sinkhorn_divergence", lambda a, b: (0.5, False))
    observable = Wasserstein(exact_below=0, blocks=False)
    run = mfsim.run(make(observable), tmp_path / "run.h5")
    assert np.isnan(run.series.w2).all()
    assert np.isfinite(run.series.w2_upper).all()
    warned = [text for text in run.warnings if text.startswith("w2 ")]
    assert len(warned) == 1
    assert "3 saves" in warned[0]


def test_one_observable_uses_the_settings_of_another(tmp_path):
    # Wasserstein takes kl_upper from the KL that is listed, and computes its own else.
    both = make(KL(fisher_every=1), Wasserstein(blocks=False))
    alone = dataclasses.replace(both, observables=(Wasserstein(blocks=False),))
    runs = [mfsim.run(e, tmp_path / f"{i}.h5") for i, e in enumerate((both, alone))]
    first, second = (run.series.w2_upper_talagrand for run in runs)
    # Looks at every step in both: the spacing is 1 in the first steps.
    np.testing.assert_allclose(first, second, rtol=1e-6)
    expected = np.sqrt(2 * np.maximum(runs[0].series.kl_upper, 0))
    np.testing.assert_allclose(first, expected, rtol=1e-6)


def test_series_that_depend_on_the_law_have_units():
    found = declare(make(*OF_THE_LAW, Audit()), DATASET.load())
    units = {name: s.unit for name, s in found.items() if isinstance(s, Series)}
    assert units["kl_upper"] == "nat"
    assert units["w2"] == "parameter"
    assert units["gap_upper"] == "loss"
