"""Groups, programs and members: what is shared, what is compiled, what is equal."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

import mfsim
from mfsim.ensemble import run_all
from mfsim.ensemble.grouping import group_size
from mfsim.ensemble.program import Shape
from mfsim.flows import ParticleFlow
from mfsim.integrators.stability import round_down
from mfsim.observables import KL, Audit, OnlineError, Risk, TwinGap, Wasserstein
from mfsim.progress import Progress
from mfsim.storage import Recorder
from mfsim.sweep import Point, Sweep
from tests.cli.helpers import assert_equal_to_the_bit

ALPHAS = (1.0, 2.0, 4.0)
SEEDS = (0, 1)


BRACKETS = Risk(), KL(), Wasserstein(), Audit()


def experiment(
    alpha=2.0,
    seed=0,
    saves=3,
    step=0.02,
    dtype="float32",
    temperature=1e-3,
    observables=mfsim.Experiment.observables,
):
    """A small run whose 30 steps take no time."""
    dataset = mfsim.datasets.SphereTeacher(dim=3, num_train=12, num_test=5)
    return mfsim.Experiment(
        flow=ParticleFlow(
            network=mfsim.TwoLayer(width=16, alpha=alpha),
            dataset=dataset,
            temperature=temperature,
        ),
        integrator=mfsim.ExponentialLangevin(step=step),
        schedule=mfsim.Schedule(num_steps=30, saves=saves, snapshots=2),
        observables=observables,
        seed=seed,
        dtype=dtype,
    )


def deep_experiment(seed=0, **network):
    """Online SGD of 30 steps, with all that is kept along its path."""
    dataset = mfsim.datasets.TwoClassSphere(dim=3, num_train=30, num_test=5)
    return mfsim.Experiment(
        mfsim.WeightFlow(
            mfsim.DeepRelu(**{"width": 8, "depth": 3} | network),
            dataset,
            mfsim.Logistic(),
        ),
        mfsim.NoisyGD(step=0.1, batch_size=1),
        mfsim.Schedule(num_steps=30, saves=4, snapshots=2),
        (Risk(), TwinGap(), OnlineError()),
        seed,
    )


def sweep(saves=3):
    """The product of ALPHAS and SEEDS."""
    points = tuple(
        Point(
            experiment(alpha, seed, saves),
            {"alpha": i, "seed": j},
            {"alpha": alpha, "seed": seed},
        )
        for i, alpha in enumerate(ALPHAS)
        for j, seed in enumerate(SEEDS)
    )
    coords = {"alpha": ("alpha",), "seed": ("seed",)}
    return Sweep("sweep", {"alpha": len(ALPHAS), "seed": len(SEEDS)}, coords, points)


def last_state(trajectory):
    return trajectory.snapshots["neurons"].isel(step=-1).values


def test_a_sweep_traces_the_force_as_often_as_a_single_run(tmp_path, monkeypatch):
    count = 0
    force = ParticleFlow.force

    def counted(self, state, batch):
        nonlocal count
        count += 1
        return force(self, state, batch)

    monkeypatch.setattr(ParticleFlow, "force", counted)
    mfsim.run(experiment(), tmp_path / "one.h5")
    single, count = count, 0
    mfsim.run(sweep(), tmp_path / "sweep")
    assert 0 < count == single


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return folder, mfsim.run(sweep(), folder)


def test_a_sweep_equals_its_runs_one_by_one(swept, tmp_path):
    folder, dataset = swept
    for i, alpha in enumerate(ALPHAS):
        alone = mfsim.run(experiment(alpha, seed=1), tmp_path / f"{alpha}.h5")
        together = dataset.isel(alpha=i, seed=1)
        run_id = str(together.run_id.values)
        state = last_state(mfsim.open(folder / f"{run_id}.h5"))
        # 30 steps, each rounding entries of size 1 within 6e-8 in another order.
        np.testing.assert_allclose(last_state(alone), state, atol=30 * 6e-8 * 4)
        risk = together.train_risk.values
        np.testing.assert_allclose(risk, alone.series.train_risk.values, rtol=1e-5)


def test_a_sweep_lies_on_its_axes(swept):
    _, dataset = swept
    assert dict(dataset.sizes) == {"alpha": 3, "seed": 2, "save": 3}
    assert dataset.alpha.values.tolist() == list(ALPHAS)
    assert (dataset.status == "completed").all()


def test_points_that_differ_in_alpha_share_start_and_seeds_do_not(swept):
    folder, dataset = swept
    starts = [
        mfsim.open(folder / f"{run_id}.h5").snapshots["neurons"].isel(step=0).values
        for run_id in dataset.run_id.values[:2].ravel()
    ]
    np.testing.assert_array_equal(starts[0], starts[2])
    assert not np.array_equal(starts[0], starts[1])


def test_states_do_not_depend_on_the_save_cadence(tmp_path):
    few = mfsim.run(experiment(saves=2), tmp_path / "few.h5")
    many = mfsim.run(experiment(saves=31), tmp_path / "many.h5")
    np.testing.assert_array_equal(last_state(few), last_state(many))
    assert many.series.sizes["step"] == 31


def test_the_file_has_the_precision_of_the_run(tmp_path):
    single = mfsim.run(experiment(), tmp_path / "32.h5")
    double = mfsim.run(experiment(dtype="float64"), tmp_path / "64.h5")
    assert single.snapshots["neurons"].dtype == np.float32
    assert double.snapshots["neurons"].dtype == np.float64


@pytest.mark.parametrize(
    ("sizes", "workers", "size"),
    [([9, 9, 9, 9], 2, 9), ([9], 2, 3), ([8], 2, 4), ([7, 1, 1], 2, 1), ([4], 1, 4)],
)
def test_group_sizes_are_those_of_the_least_rounds(sizes, workers, size):
    # Rounds x (members + 1 for the noise): [9] on 2: 1x10, 2x4, 5x2; [8]: 9, 5, 6, 8.
    assert group_size(sizes, workers, most=100) == size
    assert group_size(sizes, workers, most=1) == 1


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.999, 0.99), (1.0, 1.0), (123.4, 120.0), (0.0345, 0.034), (9.99e-7, 9.9e-7)],
)
def test_auto_steps_are_rounded_down_to_two_digits(value, rounded):
    assert round_down(value) == rounded


def test_auto_is_a_number_in_the_file_and_repeats_the_run(tmp_path):
    auto = mfsim.run(experiment(step="auto"), tmp_path / "auto.h5")
    step = auto.config["integrator"]["step"]
    again = mfsim.run(experiment(step=step), tmp_path / "again.h5")
    np.testing.assert_array_equal(last_state(auto), last_state(again))


def test_divergence_keeps_the_rows_and_names_a_stable_step(tmp_path):
    (outcome,) = run_all(experiment(step=1e4, saves=31), tmp_path / "bad.h5")
    found = mfsim.open(tmp_path / "bad.h5")
    assert outcome.status == found.status == "diverged"
    assert found.series.sizes["step"] >= 1
    assert np.isfinite(found.series.train_risk.values).all()
    assert "integrator.step must be below" in outcome.message
    with pytest.raises(mfsim.Diverged, match=r"integrator\.step must be below"):
        mfsim.run(experiment(step=1e4), tmp_path / "single.h5")


def test_members_together_equal_members_one_by_one(swept, tmp_path, monkeypatch):
    _, one_by_one = swept

    def vmapped(*args, **fields):
        return Shape(*args, **(fields | {"together": True}))

    monkeypatch.setattr("mfsim.ensemble.group.Shape", vmapped)
    together = mfsim.run(sweep(), tmp_path / "together")
    for name in ("train_risk", "displacement"):
        # 30 steps whose sums over 16 neurons round within 6e-8 in another order.
        np.testing.assert_allclose(together[name], one_by_one[name], rtol=1e-4)


def test_a_run_that_failed_past_its_stop_does_not_go_on(tmp_path, monkeypatch):
    table = {
        "flow": {
            "kind": "ParticleFlow",
            "network": {"kind": "TwoLayer", "width": 16},
            "dataset": {"kind": "SphereTeacher", "dim": 3, "num_train": 12},
        },
        "integrator": {"kind": "NoisyGD", "step": 0.1},
        "schedule": {"num_steps": 60, "saves": 7, "stop": "displacement > 0"},
    }
    stopping = mfsim.load_table(table, tmp_path)
    straight = mfsim.run(stopping, tmp_path / "straight.h5")
    assert straight.series.step.values.tolist() == [0, 10]

    def full(self, *args):
        raise mfsim.MfsimError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "finish", full)
        (outcome,) = run_all(stopping, tmp_path / "broken.h5")
    assert outcome.status == "failed"
    resumed = mfsim.run(stopping, tmp_path / "broken.h5", resume=True)
    assert resumed.status == "completed"
    assert resumed.series.step.values.tolist() == [0, 10]


def test_checkpoints_do_not_wait_for_saves(tmp_path, monkeypatch):
    steps = []
    save = Recorder.save_checkpoint

    def noted(self, step, leaves):
        steps.append(step)
        save(self, step, leaves)

    monkeypatch.setattr(Recorder, "save_checkpoint", noted)
    monkeypatch.setattr("mfsim.ensemble.member._CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("mfsim.ensemble.member._CHECKPOINT_SHARE", 1e9)
    monkeypatch.setattr("mfsim.ensemble.group._CHUNK_SECONDS", 0.0)
    mfsim.run(experiment(saves=2), tmp_path / "a.h5")
    # Chunks of one step, a checkpoint after each, and one more with the last save.
    assert steps == [*range(1, 31), 30]


def test_groups_run_on_every_device(tmp_path):
    code = (
        "import jax, mfsim, tests.unit.test_ensemble as t\n"
        f"sweep = mfsim.run(t.sweep(), {str(tmp_path / 'sweep')!r})\n"
        "assert (sweep.status == 'completed').all()\n"
        "print(len(jax.devices()), float(sweep.train_risk[1, 1, -1]))"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | flags,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    devices, risk = done.stdout.split()
    alone = mfsim.run(experiment(ALPHAS[1], seed=1), tmp_path / "alone.h5")
    assert int(devices) == 2
    assert float(risk) == pytest.approx(float(alone.series.train_risk[-1]), rel=1e-5)


def test_the_shadow_lies_beside_the_neurons_and_starts_on_them(tmp_path):
    mfsim.run(experiment(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        neurons, shadow = (
            file[f"particles/{name}/position/value"][...]
            for name in ("neurons", "shadow")
        )
        steps = file["particles/shadow/position/step"][...]
    assert steps.tolist() == [0, 30]
    assert shadow.shape == neurons.shape == (2, 16, 4)
    assert shadow.dtype == neurons.dtype
    np.testing.assert_array_equal(shadow[0], neurons[0])
    assert not np.isin(shadow[1], np.concatenate([shadow[0], neurons[1]])).any()


class Stopper(Progress):
    """Interrupts all runs once one of them has come to a step."""

    def __init__(self, step):
        super().__init__()
        self.stop, self._step = threading.Event(), step

    def update(self, name, step, risk):
        super().update(name, step, risk)
        if step >= self._step:
            self.stop.set()


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["particles", "weights"])
def test_accounts_of_the_path_survive_an_interruption(flow, tmp_path, monkeypatch):
    if flow == "particles":
        what = experiment(saves=4, temperature=1e-2, observables=BRACKETS)
    else:
        what = deep_experiment()
    mfsim.run(what, tmp_path / "straight.h5")
    monkeypatch.setattr("mfsim.ensemble.group._CHUNK_SECONDS", 0.0)
    path = tmp_path / "broken.h5"
    for step in (3, 14):
        stopper = Stopper(step)
        options = {"progress": stopper, "stop": stopper.stop, "resume": step > 3}
        (outcome,) = run_all(what, path, **options)
        assert outcome.status == "interrupted"
        assert f"interrupted at step {step}" in outcome.message
    mfsim.run(what, path, resume=True)
    assert_equal_to_the_bit(path, tmp_path / "straight.h5")


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1e-2])
def test_brackets_do_not_depend_on_the_save_cadence(temperature, tmp_path):
    few, many = (
        mfsim.run(
            experiment(saves=saves, temperature=temperature, observables=BRACKETS),
            tmp_path / f"{saves}.h5",
        ).series
        for saves in (4, 31)
    )
    common = many.sel(step=few.step)
    assert few.step.values.tolist() == [0, 10, 20, 30]
    assert {"kl_lower", "kl_upper", "w2", "audit_risk"} <= set(few.data_vars)
    for name in few.data_vars:
        np.testing.assert_array_equal(few[name], common[name])


@pytest.mark.slow
def test_without_temperature_path_and_energy_are_absent_and_say_why(tmp_path):
    temperatures = 0.0, 1e-2
    points = tuple(
        Point(
            experiment(temperature=value, observables=BRACKETS),
            {"temperature": i},
            {"temperature": value},
        )
        for i, value in enumerate(temperatures)
    )
    coords = {"temperature": ("temperature",)}
    swept = mfsim.run(
        Sweep("sweep", {"temperature": 2}, coords, points), tmp_path / "sweep"
    )
    assert (swept.status == "completed").all()
    cold, warm = (
        mfsim.open(tmp_path / "sweep" / f"{run_id}.h5")
        for run_id in swept.run_id.values
    )
    for name in ("kl_upper_path", "kl_upper_energy"):
        assert name not in cold.series
        with h5py.File(cold.path) as file:
            assert "the temperature is 0" in file["series"].attrs[name]
        assert name not in warm.absent
        assert np.isfinite(warm.series[name].values).all()
        assert np.isnan(swept[name].sel(temperature=0.0)).all()
    np.testing.assert_array_equal(cold.series.kl_upper, cold.series.kl_upper_production)
    least = np.minimum(warm.series.kl_upper_path, warm.series.kl_upper_energy)
    least = np.minimum(least, warm.series.kl_upper_production)
    np.testing.assert_array_equal(warm.series.kl_upper, least)


def test_widths_and_seeds_of_deep_networks_share_a_program(tmp_path):
    places = [(m, seed) for m in (4, 7) for seed in SEEDS]
    points = tuple(
        Point(
            deep_experiment(seed, active=m),
            {"active": i // 2, "seed": i % 2},
            {"active": m, "seed": seed},
        )
        for i, (m, seed) in enumerate(places)
    )
    axes = {"active": ("active",), "seed": ("seed",)}
    runs = mfsim.run(
        Sweep("widths", {"active": 2, "seed": 2}, axes, points), tmp_path / "widths"
    )
    for m, seed in places[1:3]:
        alone = mfsim.run(deep_experiment(seed, width=m), tmp_path / f"{m}{seed}.h5")
        point = runs.sel(active=m, seed=seed)
        for name in ("train_risk", "online_risk", "iterate_risk", "twin_gap"):
            # Rounding of float32 in 30 steps.
            np.testing.assert_allclose(
                point[name], alone.series[name], rtol=1e-3, atol=1e-6
            )


def test_an_exponent_without_theory_is_warned_of(tmp_path):
    run = mfsim.run(deep_experiment(scale_exponent=0.7), tmp_path / "run.h5")
    said = "flow.network.scale_exponent is outside (0, 1/2]"
    assert sum(warning.startswith(said) for warning in run.warnings) == 1
