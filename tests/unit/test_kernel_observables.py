"""Observables of the kernel through whole runs: what is recorded, refused or NaN."""

import threading

import h5py
import numpy as np
import pytest

import mfsim
from mfsim.ensemble.member import Task
from mfsim.ensemble.runs import run_tasks
from mfsim.errors import ConfigError
from mfsim.kernels import tangent_kernel
from mfsim.observables import (
    KernelAlignment,
    KernelDrift,
    KernelSpectrum,
    NtkGap,
    ResidualRecursion,
    Risk,
    ntk,
)
from mfsim.progress import Progress
from mfsim.series import Series

ALL = (
    KernelDrift(),
    KernelAlignment(),
    KernelSpectrum(),
    NtkGap(),
    ResidualRecursion(),
)


def make(tmp_path, *, x=None, y=None, num_test=3, observables=ALL, **options):
    """An experiment on 12 points of norm 1 in a file, `options` by what they change."""
    draws = np.random.default_rng(5)
    given = draws.standard_normal((12 + num_test, 3))
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    x = given[:12] if x is None else x
    y = np.sign(draws.standard_normal(len(x))) if y is None else y
    arrays = {"x_train": x, "y_train": y}
    if num_test:
        arrays |= {"x_test": given[12:], "y_test": np.ones(num_test)}
    np.savez(tmp_path / "points.npz", **arrays)
    flow, network, integrator, top = (
        options.get(part, {}) for part in ("flow", "network", "integrator", "top")
    )
    return mfsim.Experiment(
        flow=mfsim.ParticleFlow(
            mfsim.TwoLayer(**({"width": 32, "alpha": 2.0} | network)),
            mfsim.datasets.ArrayFile(str(tmp_path / "points.npz")),
            **flow,
        ),
        integrator=mfsim.NoisyGD(0.1, **integrator),
        schedule=mfsim.Schedule(num_steps=6, saves=3, snapshots=2),
        observables=observables,
        **top,
    )


def run(tmp_path, **options):
    return mfsim.run(make(tmp_path, **options), tmp_path / "run.h5")


VARIANTS = {
    "cold": {},
    "float64": {"top": {"dtype": "float64"}},
    "hot": {"flow": {"temperature": 1e-2}},
    "without a shadow": {"flow": {"temperature": 1e-2, "shadow": False}},
    "logistic": {"flow": {"loss": mfsim.Logistic()}},
    "relu": {"network": {"activation": mfsim.Relu()}},
    "random features": {"network": {"trainable": "output"}},
    "no pairs": {"network": {"antithetic": False, "trainable": "input"}},
    "no test points": {"num_test": 0},
    "batches": {"integrator": {"batch_size": 5}},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_all_that_is_declared_is_recorded(tmp_path, options):
    trajectory = run(tmp_path, **options)
    assert trajectory.status == "completed"
    series = trajectory.series
    for name in series:
        assert np.isfinite(series[name].values).all(), name
    batches, tested = "integrator" in options, "num_test" not in options
    assert ("ntk_gap" in series) != batches
    assert ("residual_recursion" in series) != batches
    assert ("test_ntk_gap_infinite" in series) == (tested and not batches)
    assert series.kernel_eigenvalues.shape == (3, 10)
    np.testing.assert_array_equal(series.kernel_drift[0], 0)
    shares = series.kernel_label_projections.values.sum(axis=1)
    assert (shares <= 1 + 1e-9).all()


def test_the_file_holds_the_spectrum_of_its_own_snapshots(tmp_path):
    trajectory = run(tmp_path, top={"dtype": "float64"})
    network = make(tmp_path).flow.network
    x = np.load(tmp_path / "points.npz")["x_train"]
    neurons = trajectory.snapshots["neurons"].values[-1]
    values = np.linalg.eigvalsh(
        tangent_kernel(network, (neurons[:, :-1], neurons[:, -1]), x)
    )
    last = trajectory.series.isel(step=-1)
    np.testing.assert_allclose(last.kernel_lambda_min, values[0], rtol=1e-8)
    np.testing.assert_allclose(last.kernel_eigenvalues, values[::-1][:10], rtol=1e-10)


def test_points_of_a_sweep_share_what_they_share(tmp_path, monkeypatch):
    # Alpha does not change the kernels of the start: a group of runs has two.
    calls = []
    decompose = ntk.decompose
    monkeypatch.setattr(ntk, "decompose", lambda k: calls.append(1) or decompose(k))
    config, num_groups = make(tmp_path).to_toml(), 2
    monkeypatch.setattr("mfsim.ensemble.runs.num_workers", lambda devices: num_groups)
    (tmp_path / "sweep.toml").write_text(
        config + '\n[sweep]\n"flow.network.alpha" = [1.0, 2.0, 4.0, 8.0]\n'
    )
    sweep = mfsim.load(tmp_path / "sweep.toml")
    found = mfsim.run(sweep, tmp_path / "out")
    assert len(calls) == 2 * num_groups
    alone = run(tmp_path)
    together = mfsim.open_sweep(tmp_path / "out").sel(alpha=2.0)
    assert found is not None
    # Groups of another size multiply float32 numbers in another order.
    for name in ("ntk_gap", "ntk_gap_infinite", "kernel_lambda_min"):
        np.testing.assert_allclose(
            together[name].values, alone.series[name].values, rtol=1e-3, atol=1e-9
        )


def test_a_long_input_leaves_out_the_infinite_width_alone(tmp_path):
    # Only one of the points is too long for the series of Tanh.
    x = np.eye(3)[np.arange(12) % 3] * np.linspace(0.5, 1, 12)[:, None]
    x[7] *= 60
    trajectory = run(tmp_path, x=x, integrator={}, observables=(Risk(), NtkGap()))
    assert trajectory.status == "completed"
    assert "ntk_gap" in trajectory.series
    with h5py.File(tmp_path / "run.h5") as file:
        reason = str(dict(file["series"].attrs))
    assert "x must be shorter" in reason


def test_labels_of_zero_leave_out_what_divides_by_them(tmp_path):
    trajectory = run(tmp_path, y=np.zeros(12), observables=ALL[:3])
    series = trajectory.series
    assert "kernel_lambda_min" in series
    assert "kernel_alignment" not in series
    assert "kernel_label_projections" not in series


def test_a_kernel_of_zero_is_nan_and_said_why(tmp_path):
    trajectory = run(
        tmp_path,
        x=np.zeros((12, 3)),
        network={"activation": mfsim.Relu()},
        observables=(Risk(), KernelSpectrum()),
    )
    assert trajectory.status == "completed"
    assert np.isnan(trajectory.series.kernel_lambda_min).all()
    assert any(
        "KernelSpectrum: kernel must not all be 0" in w for w in trajectory.warnings
    )


def test_few_points_are_enough_and_many_are_too_many(tmp_path):
    observables = KernelSpectrum(max_points=4, num_leading=9), NtkGap(max_points=11)
    trajectory = run(tmp_path, observables=(*observables, KernelDrift(max_points=7)))
    assert trajectory.series.kernel_eigenvalues.shape == (3, 4)
    assert "ntk_gap" not in trajectory.series
    data = make(tmp_path).flow.dataset.load()
    declared = NtkGap(max_points=11).declare(
        make(tmp_path).flow, mfsim.NoisyGD(0.1), data
    )
    assert declared["ntk_gap"] == (
        "there are 12 training points, more than the max_points = 11 of NtkGap"
    )


def test_a_kernel_beyond_the_memory_is_refused_by_its_field(tmp_path, monkeypatch):
    monkeypatch.setattr("mfsim.ensemble.preparation.memory_of", lambda device: 3_000)
    with pytest.raises(ConfigError, match=r"observables\[0\].max_points must let what"):
        run(tmp_path, network={"width": 4})


def test_the_floor_is_said_where_it_is_known(tmp_path):
    data = make(tmp_path).flow.dataset.load()
    hot = {"temperature": 0.1}
    for loss, known in ((mfsim.SquaredError(), True), (mfsim.Logistic(), False)):
        flow = make(tmp_path, flow=hot | {"loss": loss}).flow
        declared = NtkGap().declare(flow, mfsim.NoisyGD(0.1), data)
        series = declared["ntk_gap"]
        assert isinstance(series, Series)
        # lambda n/2m = 0.1 * 12/64.
        assert ("lambda n/2m = 0.019" in series.description) == known


def test_an_interruption_before_the_first_row_loses_none(tmp_path):
    # Kernels of the start can take long: a run may be stopped while they are made.
    stop, whole = threading.Event(), run(tmp_path).series
    experiment, path = make(tmp_path), tmp_path / "cut.h5"

    class Stopping(Progress):
        def begin(self, name, step, total):
            super().begin(name, step, total)
            stop.set()

    task = Task("cut", experiment, path)
    (cut,) = run_tasks([task], progress=Stopping(), stop=stop)
    assert cut.status == "interrupted"
    (done,) = run_tasks([task], resume=True)
    assert done.status == "completed"
    series = mfsim.open(path).series
    np.testing.assert_array_equal(series.step, whole.step)
    for name in whole:
        np.testing.assert_array_equal(series[name], whole[name])


def test_noise_about_labels_of_zero_is_no_explosion(tmp_path):
    trajectory = run(
        tmp_path, y=np.zeros(12), flow={"temperature": 1e-3}, observables=(Risk(),)
    )
    assert trajectory.status == "completed"
    assert trajectory.series.train_risk[-1] > 0
