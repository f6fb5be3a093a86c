"""Classifiers: the network, what is measured of it, its runs and what is refused."""

import copy
import dataclasses
import threading
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mfsim
from mfsim.config import load_table
from mfsim.datasets import AbstractDataset, Data, Digits
from mfsim.datasets import Prepare as Preparation
from mfsim.ensemble import run_all
from mfsim.ensemble.preparation import resolve
from mfsim.errors import ConfigError
from mfsim.flows import State, WeightFlow
from mfsim.integrators import MomentumSGD
from mfsim.kernels import infinite_width_kernel, tangent_kernel
from mfsim.losses import SoftmaxCrossEntropy, SquaredError
from mfsim.networks import DeepRelu, ReluClassifier
from mfsim.observables import (
    Accuracy,
    Look,
    Margin,
    NtkGap,
    RampLoss,
    Risk,
    TwinGap,
)
from mfsim.observables.margins import margins
from mfsim.progress import Progress
from tests.cli.helpers import assert_equal_to_the_bit

LOSS = SoftmaxCrossEntropy()
BLOCKS = ("layer_1", "layer_2", "bias_1", "bias_2")


outputs_of = jax.jit(ReluClassifier(5, 3).__call__)


class TestNetwork:
    def test_outputs_by_hand(self):
        u, v = (
            [[1.0, -1.0], [2.0, 0.0], [0.0, -3.0]],
            [[1.0, 2.0, 0.0], [0.0, -1.0, 4.0]],
        )
        b, e = [0.5, -4.5, 3.0], [10.0, 20.0]
        u, v, b, e = map(jnp.asarray, (u, v, b, e))
        x = jnp.asarray([[2.0, 1.0], [-1.0, -1.0]])
        # U x = (1, 4, -3) and (0, -2, 3); with b (1.5, -0.5, 0) and (0.5, -6.5, 6).
        plain, biased = ReluClassifier(3, 2), ReluClassifier(3, 2, bias=True)
        np.testing.assert_array_equal(plain((u, v), x), [[9, -4], [0, 12]])
        found = biased((u, v, b, e), x)
        np.testing.assert_array_equal(found, [[11.5, 20], [10.5, 44]])

    def test_start_is_uniform_over_the_root_of_the_fan_in(self, key):
        dim, width, classes = 9, 400, 25
        params, matrices = (
            ReluClassifier(width, classes, bias).init(key, dim)
            for bias in (True, False)
        )
        sizes = [(width, dim), (classes, width), (width,), (classes,)]
        for block, shape, fan in zip(params, sizes, (9, 400, 9, 400), strict=True):
            assert block.shape == shape
            scaled = np.abs(np.asarray(block)) * fan**0.5
            # The largest of k uniform numbers misses 1 by more than 14/k once in a
            # million; means of |u| scatter by 1/sqrt(12 k), five of these likewise.
            assert 1 - 14 / block.size < scaled.max() <= 1
            assert scaled.mean() == pytest.approx(0.5, abs=5 / (12 * block.size) ** 0.5)
            assert abs(np.mean(block)) * fan**0.5 < 5 / (3 * block.size) ** 0.5
        # Biases do not change what else is drawn.
        assert len(matrices) == 2
        for ours, theirs in zip(matrices, params, strict=False):
            np.testing.assert_array_equal(ours, theirs)

    @given(factor=st.floats(0.01, 100))
    def test_a_factor_may_go_from_one_layer_to_the_other(self, factor):
        u, v = np.cos(np.arange(20.0)).reshape(5, 4), np.sin(np.arange(15.0))
        v, x = v.reshape(3, 5), np.linspace(-1, 1, 8).reshape(2, 4)
        f, same = outputs_of((u, v), x), outputs_of((factor * u, v / factor), x)
        np.testing.assert_allclose(same, f, rtol=1e-13, atol=1e-15)


@partial(jax.jit, static_argnums=2)
def look(f, y, observables):
    """What is measured of outputs, put out by two layers that are the identity."""
    flow = WeightFlow(ReluClassifier(f.shape[1], f.shape[1]), Digits(), LOSS)
    state = State((jnp.eye(f.shape[1]), jnp.eye(f.shape[1])))
    data = Data(f, y, f[:1], y[:1])
    place = state, state, jnp.asarray(0), ()
    return Look(flow, MomentumSGD(0.1), data, *place, observables).measure()


def seen(outputs, labels, *observables):
    """The measured numbers by name."""
    found = look(jnp.asarray(outputs), jnp.asarray(labels), observables)
    return {name: float(value) for part in found for name, value in part.items()}


class TestMargins:
    def test_by_hand(self):
        f = [[3.0, 1.0, 2.0], [0.0, 5.0, 5.0], [4.0, 4.0, 1.0], [1.0, 2.0, 7.0]]
        # The second best is taken, whether it comes before or after; ties are 0.
        found = margins(jnp.asarray(f), jnp.asarray([0.0, 2.0, 2.0, 1.0]))
        np.testing.assert_array_equal(found, [1, 0, -3, -5])

    def test_of_two_classes_are_signed_differences(self):
        f = jnp.asarray([[2.0, 0.5], [2.0, 0.5], [1.0, 1.0]])
        found = margins(f, jnp.asarray([0.0, 1.0, 1.0]))
        np.testing.assert_array_equal(found, [1.5, -1.5, 0])

    def test_of_one_output_are_its_products_with_the_labels(self):
        f = jnp.asarray([2.0, -0.5, 0.0], jnp.float32)
        found = margins(f, jnp.asarray([-1.0, -1.0, 1.0], jnp.float32))
        np.testing.assert_array_equal(found, [-2, 0.5, 0])
        assert found.dtype == jnp.float64

    def test_percentile_ramp_and_errors_by_hand(self):
        # Margins 1, 0 as the second of two, 0 as the first, -3, 4.
        f = [[3.0, 1, 2], [0, 5, 5], [4, 4, 1], [4, 4, 1], [1, 2, 6]]
        labels = [0.0, 2, 0, 2, 2]
        found = seen(f, labels, Margin(), RampLoss(2.0), Accuracy(), Risk())
        # Sorted -3, 0, 0, 1, 4: the 5th percentile is a fifth of the way from -3 to 0.
        assert found["margin"] == pytest.approx(-3 + 3 * 0.05 * 4, rel=1e-15)
        # 1 - 1/2, then 1, 1, 1 and 0; of the first point alone 1/2.
        assert found["ramp_loss"] == pytest.approx(3.5 / 5, rel=1e-15)
        assert found["test_ramp_loss"] == 0.5
        # Two that are equal and the largest leave the point in no class.
        assert found["train_error"] == pytest.approx(3 / 5)
        assert found["test_error"] == 0
        risk = np.log(1 + np.exp(-2.0) + np.exp(-1.0))
        assert found["test_risk"] == pytest.approx(risk, rel=1e-14)

    @given(
        f=st.lists(st.tuples(*[st.floats(0, 9)] * 3), min_size=4, max_size=4),
        gamma=st.sampled_from([0.5, 3.0]),
    )
    def test_ramp_loss_is_between_two_shares(self, f, gamma):
        f, labels = np.array(f), np.array([0, 1, 2, 0])
        own = f[np.arange(4), labels]
        f[np.arange(4), labels] = -np.inf
        by = own - f.max(1)
        f[np.arange(4), labels] = own
        ramp = seen(f, labels.astype(float), RampLoss(gamma))["ramp_loss"]
        assert (by <= 0).mean() - 1e-15 <= ramp <= (by < gamma).mean() + 1e-15
        by_hand = np.minimum(1, np.maximum(0, 1 - by / gamma)).mean()
        assert ramp == pytest.approx(by_hand, rel=1e-14, abs=1e-15)

    def test_of_a_scalar_network(self):
        network = DeepRelu(2, 2, 0.5)
        x, y = jnp.asarray([[3.0], [-1.0], [2.0]]), jnp.asarray([1.0, 1.0, -1.0])
        # [z]_+ - [-z]_+ = z, so that f(x) = sqrt(2) x.
        state = State((jnp.asarray([[1.0], [-1.0]]), jnp.asarray([[1.0, -1.0]])))
        flow, data = WeightFlow(network, Digits()), Data(x, y, x[:0], y[:0])
        kinds = Margin(25.0), RampLoss(6.0 * 2**0.5), Accuracy()
        place = state, state, jnp.asarray(0), ()
        measure = jax.jit(
            lambda *data: Look(flow, None, Data(*data), *place, kinds).measure()
        )
        margin, ramp, error = measure(*data)
        # Products -2, -1 and 3 times sqrt(2): a quarter is between the first two.
        assert float(margin["margin"]) == pytest.approx(-1.5 * 2**0.5, rel=1e-15)
        assert float(ramp["ramp_loss"]) == pytest.approx((0.5 + 1 + 1) / 3, rel=1e-15)
        assert float(error["train_error"]) == pytest.approx(2 / 3)
        labels = np.array([1.0, 0.5])
        other = Data(np.zeros((2, 1)), labels, np.zeros((0, 1)), labels[:0])
        for kind in kinds:
            for reason in kind.declare(flow, None, other).values():
                assert "not all -1 or 1" in reason or "no test points" in reason


def experiment(seed=0, step=0.2, momentum=0.9, bias=True, nesterov=False, **schedule):
    """A few epochs of three batches of 16; two points of an epoch wait."""
    return mfsim.Experiment(
        WeightFlow(
            ReluClassifier(8, 10, bias),
            Digits(num_train=50, num_test=20, labels="classes"),
            LOSS,
        ),
        MomentumSGD(step, momentum, nesterov, 16),
        mfsim.Schedule(**{"epochs": 7, "saves": 4, "snapshots": 4} | schedule),
        OBSERVED,
        seed,
        "float64",
    )


OBSERVED = tuple(
    mfsim.component.build(mfsim.observables.AbstractObservable, kind)
    for kind in (
        "Risk", "Accuracy", "Margin", "RampLoss", "Displacement", "Regulariser",
        "LayerDistance", "SpectralNorms", "GradientNorms",
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return mfsim.run(experiment(), tmp_path_factory.mktemp("straight") / "a.h5")


class Stopper(Progress):
    """Interrupts a run once it has come to a step."""

    def __init__(self, step):
        super().__init__()
        self.stop, self._step = threading.Event(), step

    def update(self, name, step, risk):
        super().update(name, step, risk)
        if step >= self._step:
            self.stop.set()


def outputs(weights, x):
    u, v, b, e = weights
    return np.maximum(x @ u.T + b, 0) @ v.T + e


def weights_of(run, row):
    return [run.snapshots[f"weights/{block}"].values[row] for block in BLOCKS]


@pytest.mark.slow
class TestRuns:
    def test_series_are_those_of_the_weights(self, straight):
        data, start = straight.data, weights_of(straight, 0)
        for row in (0, -1):
            weights, series = weights_of(straight, row), straight.series.isel(step=row)
            for part in ("train", "test"):
                x, y = data[f"x_{part}"], data[f"y_{part}"].astype(int)
                f, places = outputs(weights, x), np.arange(len(y))
                own = f[places, y]
                risk = np.mean(np.log(np.exp(f).sum(1)) - own)
                np.testing.assert_allclose(series[f"{part}_risk"], risk, rtol=1e-12)
                assert series[f"{part}_error"] == np.mean(f.argmax(1) != y)
                f[places, y] = -np.inf
                gaps = own - f.max(1)
                ramp = np.clip(1 - gaps, 0, 1).mean()
                name = "ramp_loss" if part == "train" else "test_ramp_loss"
                np.testing.assert_allclose(series[name], ramp, rtol=1e-12)
                if part == "train":
                    wanted = np.percentile(gaps, 5)
                    np.testing.assert_allclose(series["margin"], wanted, rtol=1e-12)
            moved = [a - b for a, b in zip(weights, start, strict=True)]
            norms = [np.linalg.norm(m) for m in moved]
            np.testing.assert_allclose(series["layer_distance"], norms[:2], rtol=1e-12)
            largest = [np.linalg.norm(w, 2) for w in weights[:2]]
            np.testing.assert_allclose(series["spectral_norm"], largest, rtol=1e-12)
            # Biases are parameters as well.
            distance = np.linalg.norm(norms)
            np.testing.assert_allclose(series["displacement"], distance, rtol=1e-12)
            assert series["regulariser"] == 0
        risks = straight.series["train_risk"].values
        assert risks[-1] < 0.6 * risks[0]

    def test_gradient_norms_are_by_differences(self, straight):
        data, start = straight.data, weights_of(straight, 0)
        y = data["y_train"].astype(int)

        def risk(weights):
            f = outputs(weights, data["x_train"])
            return np.mean(np.log(np.exp(f).sum(1)) - f[np.arange(len(y)), y])

        slopes, v = np.zeros_like(start[1]), start[1]
        for place in np.ndindex(v.shape):
            change = np.zeros_like(v)
            change[place] = 1e-6
            up, down = ([start[0], v + c, *start[2:]] for c in (change, -change))
            slopes[place] = (risk(up) - risk(down)) / 2e-6
        found = straight.series["gradient_norm"].values[0]
        # Central differences miss by 1e-16/1e-6 and 1e-12.
        assert found.shape == (2,)
        assert found[1] == pytest.approx(np.linalg.norm(slopes), rel=1e-8)

    def test_weights_lie_in_the_file(self, straight):
        sizes = ((8, 64), (10, 8), (8,), (10,))
        for block, size in zip(BLOCKS, sizes, strict=True):
            found = straight.snapshots[f"weights/{block}"]
            assert found.dims == ("step", "neuron", "input")[: 1 + len(size)]
            assert found.shape == (4, *size)
        assert {name for name in straight.snapshots if "_3d" in name} == {"layer_1_3d"}
        without = straight.absent["stable_step"]
        assert without == "MomentumSGD is held against its limit at the start alone"

    def test_epochs_are_of_whole_batches(self, straight):
        # 50 points make three batches of 16; seven epochs are 21 steps.
        assert straight.series.step.values.tolist() == [0, 7, 14, 21]
        assert straight.status == "completed"
        np.testing.assert_allclose(straight.series.time[-1], 21 * 0.2, rtol=1e-14)

    def test_an_interrupted_run_goes_on_to_the_bit(
        self, straight, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("mfsim.ensemble.group._CHUNK_SECONDS", 0.0)
        path = tmp_path / "broken.h5"
        for step in (3, 11):
            stopper = Stopper(step)
            options = {"progress": stopper, "stop": stopper.stop, "resume": step > 3}
            (outcome,) = run_all(experiment(), path, **options)
            assert f"interrupted at step {step}" in outcome.message
        mfsim.run(experiment(), path, resume=True)
        assert_equal_to_the_bit(path, straight.path)

    def test_saves_change_nothing(self, straight, tmp_path):
        often = mfsim.run(experiment(saves=22, snapshots=2), tmp_path / "often.h5")
        assert often.series.sizes["step"] == 22
        ends = weights_of(often, -1), weights_of(straight, -1)
        for ours, theirs in zip(*ends, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_stops_at_the_first_save_below(self, straight, tmp_path):
        level = float(straight.series["train_risk"][1:3].mean())
        rule = f"train_risk < {level!r}"
        run = mfsim.run(experiment(stop=rule), tmp_path / "stopped.h5")
        assert run.status == "completed"
        assert run.series.step.values.tolist() == [0, 7, 14]
        assert rule in run.attributes["message"]
        assert float(run.series["train_risk"][-1]) < level

    def test_members_are_single_runs(self, straight, tmp_path):
        table = straight.config | {"sweep": {"integrator.momentum": [0.9, 0.0]}}
        mfsim.run(load_table(table, tmp_path), tmp_path / "sweep")
        pair = mfsim.open_sweep(tmp_path / "sweep")
        alone = mfsim.run(experiment(momentum=0.0), tmp_path / "alone.h5")
        for momentum, run in ((0.9, straight), (0.0, alone)):
            member = pair.sel(momentum=momentum)
            for name in ("train_risk", "margin", "layer_distance", "test_error"):
                # Members are multiplied in another order: rounding of 21 steps.
                ours, theirs = member[name].values, run.series[name].values
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
        ends = pair["train_risk"].values[:, -1]
        assert abs(ends[0] - ends[1]) > 0.05


def in_epochs(total, batch, epochs):
    """What a schedule of epochs comes to."""
    data = Digits(num_train=total, num_test=1, labels="classes").load()
    what = mfsim.Experiment(
        WeightFlow(ReluClassifier(2), Digits(), LOSS),
        MomentumSGD(0.1, batch_size=batch),
        mfsim.Schedule(epochs=epochs),
    )
    return resolve(what, data).schedule.num_steps


@pytest.mark.parametrize(
    ("total", "batch", "epochs", "steps"),
    [(50, None, 4, 4), (50, 50, 4, 4), (50, 26, 4, 4), (50, 25, 4, 8), (50, 1, 3, 150)],
)
def test_steps_of_epochs(total, batch, epochs, steps):
    assert in_epochs(total, batch, epochs) == steps


def test_too_many_epochs_are_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^schedule\.epochs must be below 2\^31"):
        in_epochs(50, 1, 2**31 - 1)


@pytest.mark.slow
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_past_the_stable_one_at_the_start_is_warned_of(nesterov, tmp_path):
    """Stable below 1 + mu times gradient descent's, Nesterov's (1 + mu)/(1 + 2 mu)."""
    one = experiment(nesterov=nesterov, momentum=0.5, epochs=1, saves=2)
    one = dataclasses.replace(one, integrator=mfsim.NoisyGD(0.1, 16))
    limit = mfsim.run(one, tmp_path / "gd.h5").series.stable_step.values[0]
    for factor, is_warned in ((0.99, False), (1.01, True)):
        step = factor * (0.75 if nesterov else 1.5) * float(limit)
        sgd = MomentumSGD(step, 0.5, nesterov, 16)
        found = dataclasses.replace(one, integrator=sgd)
        run = mfsim.run(found, tmp_path / f"{factor}.h5")
        assert any("past the stable" in text for text in run.warnings) is is_warned


def test_one_end_is_given():
    for ends, given_ in (
        ({}, "none"),
        ({"epochs": 1, "num_steps": 1}, "num_steps and epochs"),
        ({"epochs": 1, "horizon": 1.0}, "horizon and epochs"),
    ):
        message = f"^horizon or num_steps or epochs must be given.* got {given_}\\.$"
        with pytest.raises(ValueError, match=message):
            mfsim.Schedule(**ends)


def test_auto_is_the_share_of_gradient_descents():
    dataset = Digits(num_train=12, num_test=1, labels="classes")
    flow = WeightFlow(ReluClassifier(8), dataset, LOSS)
    integrator, schedule = MomentumSGD("auto", 0.75), mfsim.Schedule(num_steps=1)
    what = mfsim.Experiment(flow, integrator, schedule, dtype="float64")
    data = dataset.load()
    step = resolve(what, data).integrator.step
    # A quarter of a quarter of 2 n/(max_curvature lambda_max), by the whole Jacobian.
    x, params = jnp.asarray(data.x_train), flow.network.init(what.key("init"), 64)
    blocks = jax.jit(jax.jacobian(lambda p: flow.network(p, x)))(params)
    jacobian = np.concatenate([np.reshape(b, (120, -1)) for b in blocks], axis=1)
    limit = 2 * 12 / (0.5 * np.linalg.norm(jacobian, 2) ** 2)
    # Rounded down to two digits, and lambda_max is found to a few per cent from below.
    assert 0.9 < step / (limit / 16) < 1.05


CONFIG = {
    "flow": {
        "kind": "WeightFlow",
        "loss": "SoftmaxCrossEntropy",
        "network": {"kind": "ReluClassifier", "width": 4},
        "dataset": {"kind": "Digits", "labels": "classes", "num_train": 50},
    },
    "integrator": {"kind": "MomentumSGD", "step": 0.1},
    "schedule": {"epochs": 2},
}


def changed(path, value):
    """CONFIG with another value at a dotted path."""
    table = copy.deepcopy(CONFIG)
    *parts, last = path.split(".")
    reduce(dict.__getitem__, parts, table)[last] = value
    return table


SCALAR = {"kind": "DeepRelu", "width": 4, "depth": 2}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("flow.network.classes", 1, "flow.network.classes must be at least 2"),
        ("flow.network.classes", 9, r"flow.network.classes must be above .* 9, got 9"),
        ("flow.network.bias", 1, "flow.network.bias must be true or false"),
        ("flow.network.width", 0, "flow.network.width must be at least 1"),
        ("flow.network", SCALAR, r"flow.loss must be Logistic or Squared.* DeepRelu"),
        ("flow.loss", "Logistic", r"flow.loss must be SoftmaxCrossEntropy .* Logistic"),
        ("flow.dataset.labels", "scaled", r"flow.dataset.labels must be the numbers"),
        ("flow.dataset.labels", "class", r"flow.dataset.labels must be one of"),
        ("flow.temperature", 0.1, r"flow.temperature must be 0.* got 0.1"),
        ("flow.kind", "ParticleFlow", r"flow.network"),
        ("integrator.momentum", 1.0, "integrator.momentum must be below 1, got 1"),
        ("integrator.momentum", -0.1, "integrator.momentum must be at least 0"),
        ("integrator.batch_size", 51, "integrator.batch_size must be at most the 50"),
        ("schedule.horizon", 1.0, r"schedule.horizon or .* got horizon and epochs"),
        ("observables", ["KernelDrift"], r"observables.0. KernelDrift must be given a"),
        (
            "observables",
            [{"kind": "Margin", "percentile": 101.0}],
            r"observables.0..percentile must be at most 100",
        ),
        (
            "observables",
            [{"kind": "RampLoss", "gamma": 0.0}],
            r"observables.0..gamma must be above 0",
        ),
    ],
)
def test_what_does_not_suit_is_refused_in_one_line(tmp_path, path, value, message):
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        mfsim.run(load_table(changed(path, value), tmp_path), tmp_path / "a.h5")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.h5").exists()


class _Labelled(AbstractDataset):
    """Points with given labels."""

    labels: tuple[float, ...] = ()
    seed: int = 0
    prepare: Preparation = Preparation()

    def raw(self):
        x = np.ones((len(self.labels), 2))
        return Data(x, np.array(self.labels), x[:0], x[:0, 0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (1.5, r"flow.dataset.labels must be the numbers .* got 1.5; "),
        (-1.0, r"flow.dataset.labels must be the numbers .* got -1; "),
        (3.0, r"flow.network.classes must be above the largest label, 3, got 3; raise"),
    ],
)
def test_labels_that_are_no_classes_are_refused(wrong, message, tmp_path):
    flow = WeightFlow(ReluClassifier(4, 3), _Labelled((0.0, wrong, 2.0)), LOSS)
    what = mfsim.Experiment(flow, MomentumSGD(0.1), mfsim.Schedule(epochs=1))
    with pytest.raises(ConfigError, match=f"^{message}"):
        mfsim.run(what, tmp_path / "a.h5")


def test_momentum_refuses_noise(tmp_path):
    flow = WeightFlow(DeepRelu(4, 2), Digits(num_train=9), SquaredError(), 0.1)
    what = mfsim.Experiment(flow, MomentumSGD(0.1), mfsim.Schedule(epochs=1))
    message = r"^integrator\.kind .* temperature 0, .* got 0\.1; use NoisyGD\.$"
    with pytest.raises(ConfigError, match=message):
        mfsim.run(what, tmp_path / "a.h5")


def test_kernels_are_of_one_output(key):
    network, x = ReluClassifier(4, 3), np.ones((2, 5))
    params, message = network.init(key, 5), r"^network must .* ReluClassifier.*$"
    with pytest.raises(ValueError, match=message) as tangent:
        tangent_kernel(network, params, x)
    with pytest.raises(ValueError, match=message) as infinite:
        infinite_width_kernel(network, x)
    assert not any("\n" in str(caught.value) for caught in (tangent, infinite))


@pytest.mark.parametrize("kind", [NtkGap, TwinGap])
def test_nothing_predicts_the_path_of_momentum(kind):
    # At eta k it has gone as far as the gradient flow at some eta k/(1 - mu).
    dataset = Digits(classes=(3, 8), num_train=9, num_test=2)
    flow = WeightFlow(DeepRelu(4, 2), dataset)
    declared = kind().declare(flow, MomentumSGD(0.1), dataset.load())
    assert all("MomentumSGD" in str(reason) for reason in declared.values())
