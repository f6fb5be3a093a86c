"""CapacityMeasures on runs of every two-layer network against NumPy on its snapshots.

Runs are in double precision and start, end and data are read back from the file, so
that norms agree to rounding; 1e-10 relative leaves a factor of 1e5.
"""

import numpy as np
import pytest

import mfsim
from mfsim.activations import Relu
from mfsim.datasets import Digits, TwoClassSphere
from mfsim.errors import ConfigError
from mfsim.flows import LinearisedFlow, ParticleFlow, WeightFlow
from mfsim.losses import Logistic, SoftmaxCrossEntropy
from mfsim.networks import DeepRelu, ReluClassifier, TwoLayer
from mfsim.observables import CapacityMeasures, Margin
from mfsim.theory import capacity_measures

SPHERE = TwoClassSphere(dim=3, num_train=12, num_test=4)
DIGITS = Digits(num_train=60, num_test=0, labels="classes")
ALPHA, WIDTH = 2.5, 8


def run(tmp_path, flow, *observables, step=0.05):
    experiment = mfsim.Experiment(
        flow=flow,
        integrator=mfsim.NoisyGD(step=step),
        schedule=mfsim.Schedule(num_steps=4, saves=3, snapshots=2),
        observables=observables,
        dtype="float64",
    )
    return mfsim.run(experiment, tmp_path / "run.h5")


def last(trajectory, name):
    return float(trajectory.series[name].values[-1])


def products(u, v, u0, v0):
    """Measures (2) to (6) written out."""
    spectral, du, dv = np.linalg.svd, u - u0, v - v0
    top = [spectral(a, compute_uv=False)[0] for a in (u, v, u0)]
    rows = [np.sqrt((a**2).sum(axis=1)).sum() for a in (du, dv)]
    fro = [np.sqrt((a**2).sum()) for a in (u, v, du, dv)]
    root = np.sqrt(len(u))
    return {
        "measure_l1": np.abs(u).sum(axis=1).max() * np.abs(v).sum(axis=1).max(),
        "measure_frobenius": fro[0] * fro[1],
        "measure_spectral_l21": top[0] * rows[1] + rows[0] * top[1],
        "measure_spectral_frobenius": top[0] * fro[3] + root * fro[2] * top[1],
        "measure_unit_wise": (top[2] + fro[2]) * fro[1] + root,
        "unit_capacity": np.sqrt((du**2).sum(axis=1)).mean(),
        "unit_impact": np.sqrt((v**2).sum(axis=0)).mean(),
    }


def check(trajectory, start, end):
    for name, value in products(*end, *start).items():
        assert last(trajectory, name) == pytest.approx(value, rel=1e-10), name


def test_particles_have_their_scale_in_v(tmp_path):
    network = TwoLayer(width=WIDTH, alpha=ALPHA, activation=Relu())
    flow = ParticleFlow(network=network, dataset=SPHERE, loss=Logistic())
    found = run(tmp_path, flow, CapacityMeasures(), Margin())
    neurons = found.snapshots["neurons"].values
    layers = [(a[:, :-1], ALPHA / WIDTH * a[:, -1][None, :]) for a in neurons]
    check(found, *layers)
    data = mfsim.datasets.Data(*map(np.asarray, SPHERE.load()))
    (u0, v0), (u, v) = layers
    f = np.maximum(data.x_train @ u.T, 0) @ v[0]
    margin = np.percentile(data.y_train * f, 5)
    assert last(found, "margin") == pytest.approx(margin, rel=1e-10)
    measures = capacity_measures(u, v, u0, v0, data.x_train, data.y_train)
    for name in ("bound_unit_wise", "rademacher_upper", "rademacher_lower"):
        assert last(found, name) == pytest.approx(measures[name], rel=1e-9)


def test_bounds_are_of_relu_alone(tmp_path):
    flow = ParticleFlow(network=TwoLayer(width=WIDTH), dataset=SPHERE, loss=Logistic())
    found = run(tmp_path, flow, CapacityMeasures())
    for name in ("bound_unit_wise", "rademacher_upper", "rademacher_lower"):
        assert found.absent[name] == "the bounds are of networks of Relu"
    neurons = found.snapshots["neurons"].values
    layers = [(a[:, :-1], a[:, -1][None, :] / WIDTH) for a in neurons]
    check(found, *layers)
    assert last(found, "measure_vc") == WIDTH * 3
    (tmp_path / "run.h5").unlink()
    few = run(tmp_path, flow, CapacityMeasures(norms=False))
    assert last(few, "measure_frobenius") == last(found, "measure_frobenius")
    assert "u_frobenius" not in few.series


def test_neurons_that_are_left_out_do_not_count(tmp_path):
    some, every = (
        DeepRelu(width=WIDTH, active=4.0),
        DeepRelu(width=4),
    )
    rows = []
    for name, network in (("some", some), ("every", every)):
        flow = WeightFlow(network=network, dataset=SPHERE, loss=Logistic())
        folder = tmp_path / name
        folder.mkdir()
        series = run(folder, flow, CapacityMeasures()).series
        rows.append({k: float(v[-1]) for k, v in series.data_vars.items()})
    assert rows[0] == pytest.approx(rows[1], rel=1e-10)


def test_deep_relu_of_two_layers_has_its_scale_in_v(tmp_path):
    network = DeepRelu(width=WIDTH, scale_exponent=0.25)
    flow = WeightFlow(network=network, dataset=SPHERE, loss=Logistic())
    found = run(tmp_path, flow, CapacityMeasures())
    first, second = (
        found.snapshots[f"weights/layer_{k}"].values[[0, -1]] for k in (1, 2)
    )
    check(found, *zip(first, WIDTH**0.25 * second, strict=True))


def test_classifier_has_its_own_weights(tmp_path):
    network = ReluClassifier(width=WIDTH)
    flow = WeightFlow(network=network, dataset=DIGITS, loss=SoftmaxCrossEntropy())
    found = run(tmp_path, flow, CapacityMeasures())
    layers = [found.snapshots[f"weights/layer_{k}"].values[[0, -1]] for k in (1, 2)]
    check(found, *zip(*layers, strict=True))


def test_biases_are_folded_in_where_that_is_asked(tmp_path):
    network = ReluClassifier(width=WIDTH, bias=True)
    flow = WeightFlow(network=network, dataset=DIGITS, loss=SoftmaxCrossEntropy())
    with pytest.raises(ConfigError, match=r"^observables\[0\] fold_biases must be"):
        run(tmp_path, flow, CapacityMeasures())
    found = run(tmp_path, flow, CapacityMeasures(fold_biases=True))
    names = "layer_1", "layer_2", "bias_1", "bias_2"
    parts = [found.snapshots[f"weights/{k}"].values[[0, -1]] for k in names]
    folded = []
    for u, v, b, e in zip(*parts, strict=True):
        last_unit = np.append(np.zeros(u.shape[1]), 1.0)
        wide = np.vstack([np.column_stack([u, b]), last_unit])
        folded.append((wide, np.column_stack([v, e])))
    (u0, v0), (u, v) = folded
    for name, value in products(u, v, u0, v0).items():
        if not name.startswith("unit"):
            assert last(found, name) == pytest.approx(value, rel=1e-10), name
    # Means are over the units that are the network's own.
    impact = np.linalg.norm(v[:, :-1], axis=0).mean()
    assert last(found, "unit_impact") == pytest.approx(impact, rel=1e-10)


def test_mode_of_the_program_ignores_biases_in_norms(tmp_path):
    network = ReluClassifier(width=WIDTH, bias=True)
    flow = WeightFlow(network=network, dataset=DIGITS, loss=SoftmaxCrossEntropy())
    with pytest.raises(ValueError, match="^fold_biases must be false in mode"):
        CapacityMeasures(mode="code2018", fold_biases=True)
    found = run(tmp_path, flow, CapacityMeasures(mode="code2018"))
    assert "sqrt(c)" in found.series.measure_spectral_frobenius.attrs["description"]
    u, v = (found.snapshots[f"weights/layer_{k}"].values[-1] for k in (1, 2))
    product = np.linalg.norm(u) * np.linalg.norm(v)
    assert last(found, "measure_frobenius") == pytest.approx(product, rel=1e-10)


def test_what_cannot_be_had_is_left_out_with_its_reason(tmp_path):
    deep = WeightFlow(network=DeepRelu(width=4, depth=3), dataset=SPHERE)
    absent = run(tmp_path, deep, CapacityMeasures()).absent
    assert absent["measure_l1"] == "the network has 3 layers, not two"
    real = ParticleFlow(
        network=TwoLayer(width=4, activation=Relu()),
        dataset=Digits(num_train=9, num_test=0),
    )
    (tmp_path / "run.h5").unlink()
    found = run(tmp_path, real, CapacityMeasures())
    assert found.absent["bound_unit_wise"] == "the labels are not all -1 or 1"
    assert last(found, "measure_vc") == 4 * 64


def test_linearised_networks_are_refused(tmp_path):
    flow = LinearisedFlow(network=DeepRelu(width=4), dataset=SPHERE)
    with pytest.raises(ValueError, match="must be given a flow of kind ParticleFlow"):
        run(tmp_path, flow, CapacityMeasures())
