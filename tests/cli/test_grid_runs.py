"""Densities, proximal steps and adaptive solvers by the command line and the file."""

import signal

import h5py
import numpy as np
import pytest

import mfsim
from tests.cli.helpers import assert_equal_to_the_bit, call, start, stop_when

CONFIG = """
observables = ["Risk", "KL", "FreeEnergy", "Marginals", "GridQuality"]
[flow]
kind = "DensityFlow"
temperature = 0.3
cells = 24
[flow.network]
kind = "TwoLayer"
alpha = 2.0
[flow.dataset]
kind = "SphereTeacher"
dim = 2
num_train = 4
num_test = 2
prepare = { pca = 1 }
[integrator]
kind = "FiniteVolume"
step = 0.05
[schedule]
num_steps = 40
saves = 9
snapshots = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A config `a.toml` and its finished run `runs/a.h5`."""
    folder = tmp_path_factory.mktemp("grid")
    (folder / "a.toml").write_text(CONFIG)
    code, out, err = call(folder, "run", "a.toml", "--quiet")
    assert (code, out) == (0, ""), err
    return folder


def refused(folder, *sets, name="a.toml"):
    """What `mfsim run` with overrides says, on one line, and its exit code."""
    args = [word for line in sets for word in ("--set", line)]
    code, out, err = call(folder, "run", name, "--quiet", "--overwrite", *args)
    assert (out, err.count("\n")) == ("", 1), err
    return code, err


def test_the_file_holds_a_density_on_its_axes(folder):
    run = mfsim.open(folder / "runs" / "a.h5")
    density = run.snapshots["density"]
    assert density.dims == ("step", "w_1", "u")
    assert density.shape == (3, 24, 24)
    np.testing.assert_allclose(density.w_1, (2 * np.arange(24) - 23) / 4)
    # One standard deviation is two cells: the mass is 1 to rounding.
    np.testing.assert_allclose(density.values.sum(axis=(1, 2)) / 4, 1, rtol=1e-13)
    marginal = density.isel(step=-1).sum("w_1") / 2
    found = run.series.marginal_u.isel(step=-1)
    np.testing.assert_allclose(found, marginal, rtol=1e-12)
    np.testing.assert_array_equal(found.u, density.u)
    assert run.attributes["dtype"] == "float64"
    assert np.diff(run.series.free_energy).max() <= 0
    with h5py.File(run.path) as file:
        assert list(file["density/axes"]) == ["w_1", "u"]
        assert file["density/axes/u"].attrs["unit"] == "parameter"
        assert set(file["density"]) == {"axes", "step", "time", "value"}


@pytest.mark.long
def test_two_inputs_make_three_axes(folder):
    args = ["--set", "flow.dataset.prepare={}", "--set", "flow.cells=10"]
    code, _, err = call(folder, "run", "a.toml", "--out", "three", "--quiet", *args)
    assert code == 0, err
    density = mfsim.open(folder / "three" / "a.h5").snapshots["density"]
    assert density.dims == ("step", "w_1", "w_2", "u")


PARTICLES = (
    'flow={kind = "ParticleFlow", temperature = 0.3, '
    'network = {kind = "TwoLayer", width = 32}, '
    'dataset = {kind = "SphereTeacher", dim = 2, num_train = 4}}'
)


@pytest.mark.long
@pytest.mark.parametrize(
    "sets",
    [
        ["integrator.tolerance=0.01", "integrator.step=0.2"],
        [
            PARTICLES,
            "integrator.kind=DiffraxSolver",
            "integrator.rtol=1e-3",
            "integrator.atol=1e-3",
        ],
    ],
    ids=["pieces", "diffrax"],
)
def test_an_interrupted_run_goes_on_to_the_bit(folder, sets, tmp_path):
    args = [
        word
        for line in [*sets, "schedule.saves=41", 'observables=["Risk"]']
        for word in ("--set", line)
    ]
    (tmp_path / "a.toml").write_text(CONFIG)
    whole = tmp_path / "whole"
    code, _, err = call(tmp_path, "run", "a.toml", "--out", whole, "--quiet", *args)
    assert code == 0, err
    process = start(tmp_path, "run", "a.toml", "--quiet", *args)
    stop_when(process, tmp_path / "runs" / "a.h5", 2, signal.SIGKILL)
    code, _, err = call(tmp_path, "run", "a.toml", "--quiet", "--resume", *args)
    assert code == 0, err
    assert_equal_to_the_bit(tmp_path / "runs" / "a.h5", whole / "a.h5")


def test_a_sweep_of_grids_is_one_dataset(folder):
    args = ["--set", "sweep.flow.network.alpha=[0.5, 1.0, 2.0]"]
    code, _, err = call(folder, "run", "a.toml", "--out", "swept", "--quiet", *args)
    assert code == 0, err
    sweep = mfsim.open_sweep(folder / "swept" / "a")
    last = sweep.kl.isel(save=-1)
    assert last.sizes == {"alpha": 3}
    alone = mfsim.open(folder / "runs" / "a.h5").series
    # Members of a group share a program: sums may be taken in another order.
    np.testing.assert_allclose(last.sel(alpha=2.0), alone.kl[-1], rtol=1e-10)


def test_what_is_wrong_with_a_grid_is_said_at_the_end(folder):
    sets = ["flow.extent=2.0", "flow.temperature=0.02", "flow.network.alpha=4.0"]
    code, err = 0, ""
    args = [word for line in sets for word in ("--set", line)]
    code, _, err = call(folder, "run", "a.toml", "--out", "bad", *args)
    assert code == 0
    assert "warning: flow.extent is too small: the outermost cells held 0." in err
    assert "warning: flow.cells are too few for second order in " in err
    assert len(mfsim.open(folder / "bad" / "a.h5").warnings) >= 2


@pytest.mark.parametrize(
    ("sets", "code", "message"),
    [
        (["flow.temperature=0.0"], 2, "flow.temperature must be above 0 on a grid"),
        (["flow.dataset.dim=5", "flow.dataset.prepare={}"], 2, "at most 2 on a grid"),
        (["flow.cells=16000"], 2, "flow.cells must let 6 copies of the state"),
        (["flow.extent=30.0"], 2, "flow.extent must be at most 20.0, got 30.0"),
        (["flow.cells=2"], 2, "flow.cells must be at least 8, got 2"),
        (["integrator.kind=NoisyGD"], 2, "must be given a flow of kind ParticleFlow"),
        (["integrator.step=50.0"], 1, "integrator.step must be small enough"),
        (['observables=["Audit"]'], 2, "observables[0] Audit must be given a flow of"),
        (
            ["integrator.kind=Proximal", "integrator.epsilon=0.7"],
            2,
            "integrator.epsilon must be at most twice the temperature, 0.6, got 0.7",
        ),
        (
            ["integrator.kind=Proximal", "integrator.step=0.001"],
            2,
            "times as large for the plan from law to law to span 0.75 cells",
        ),
        (
            ["integrator.kind=Proximal", "flow.dataset.prepare={}"],
            2,
            "integrator.kind must suit inputs of dimension 2, got Proximal",
        ),
    ],
)
def test_refusals(folder, sets, code, message):
    found, err = refused(folder, "schedule.saves=3", *sets)
    assert message in err
    assert found == code
