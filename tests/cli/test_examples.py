"""Every example and every config runs, without a warning, and does what it says.

Each runs in a process of its own, as a user runs it; long ones are shortened by --set.
"""

import contextlib
import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray
from scipy.optimize import root

import mfsim
from mfsim import theory
from mfsim.component import kinds
from mfsim.observables import AbstractObservable

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MFSIM = ["-c", "from mfsim.cli import main; main()"]


def python(*args: str | Path) -> str:
    """What a process says, warnings being errors."""
    command = [sys.executable, "-W", "error", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_config(name: str, out: Path, *overrides: str) -> Path:
    """The file or folder that `mfsim run` makes of a config."""
    config = ROOT / "configs" / f"{name}.toml"
    changes = [part for line in overrides for part in ("--set", line)]
    python(*MFSIM, "run", config, "--out", out, "--quiet", *changes)
    return out / name


def example(name: str, out: Path) -> str:
    return python(ROOT / "examples" / f"{name}.py", out)


@pytest.mark.parametrize("path", CONFIGS + EXAMPLES, ids=lambda path: path.name)
def test_file_says_how_to_run_it_and_is_run_here(path: Path) -> None:
    text = path.read_text()
    config = path.suffix == ".toml"
    assert ("mfsim run configs/" if config else "python examples/") + path.name in text
    call = rf'\(\s*"{path.stem}",\s*tmp_path'
    assert re.search(call, Path(__file__).read_text()), "write a test of it below"
    if not config:
        assert re.search(r"akes about \d+ s on 2 cores", text)
        assert len(text.splitlines()) <= 60
        for section in ("Parameters", "Problem", "Run", "Results"):
            assert f"\n# {section}" in text


def kinds_for(name: str) -> set[str]:
    """The observables that can be had of what a config runs."""
    experiment = mfsim.load(ROOT / "configs" / f"{name}.toml")
    assert isinstance(experiment, mfsim.Experiment)
    flow, data = experiment.flow, experiment.flow.dataset.load()
    found = set()
    for kind, observable in kinds(AbstractObservable).items():
        with contextlib.suppress(ValueError):
            if not isinstance(flow, observable.flows):
                continue
            observable().declare(flow, experiment.integrator, data)
            found.add(kind)
    return found


@pytest.mark.long
def test_single_run_records_all_that_can_be(tmp_path: Path) -> None:
    path = run_config(
        "single_run", tmp_path, "schedule.horizon=300", "schedule.saves=20"
    )
    run = mfsim.open(path.with_suffix(".h5"))
    recorded = {table["kind"] for table in run.config["observables"]}
    # With noise there is no twin beside the run, and its steps take all the points.
    assert recorded == kinds_for("single_run") - {"TwinGap", "OnlineError"}
    assert run.status == "completed"
    assert not run.absent
    first, last = run.series.isel(step=0), run.series.isel(step=-1)
    # f = 0 at the antithetic start, where the risk is the labels' mean square.
    np.testing.assert_allclose(first.train_risk, 1, atol=1e-6)
    assert last.train_risk < 0.05
    assert last.test_error < 0.05
    assert last.kernel_alignment > first.kernel_alignment
    mean_square = last.output_std**2 + last.output_mean**2
    assert abs(mean_square - 1) < 3 * np.sqrt(last.train_risk)


@pytest.mark.slow
def test_gradient_flow_stops_and_keeps_what_it_conserves(tmp_path: Path) -> None:
    path = run_config("gradient_flow", tmp_path)
    run = mfsim.open(path.with_suffix(".h5"))
    risk = run.series.train_risk.values
    assert risk[-1] < 1e-8 <= risk[-2]
    assert "train_risk < 1e-8" in run.attributes["message"]
    assert (np.diff(risk) <= 0).all()
    neurons = run.snapshots["neurons"].values
    balance = neurons[..., -1] ** 2 - np.square(neurons[..., :-1]).sum(axis=-1)
    change = np.abs(balance[-1] - balance[0]).mean()
    # A step moves u^2 - |w|^2 by eta^2 (g_u^2 - |g_w|^2) and lowers the risk by about
    # eta mean |g|^2, at least half of it below half of the largest stable step.
    step = run.config["integrator"]["step"]
    assert step < run.series.stable_step.min() / 2
    assert 0 < change < 2 * step * (risk[0] - risk[-1])


@pytest.mark.long
def test_noise_moves_the_weights_not_the_law(tmp_path: Path) -> None:
    folder = run_config(
        "law_and_weights",
        tmp_path,
        "flow.network.width=2048",
        "sweep.flow.network.alpha=[1.0, 8.0]",
        "schedule.horizon=2.0",
        "schedule.saves=5",
    )
    last = mfsim.open_sweep(folder).isel(save=-1)
    # A free neuron moves by sqrt(2 D (1 - e^{-lambda t})), D = 11, lambda t = 0.4; the
    # force adds a little, 1 % at most at alpha = 8.
    free = np.sqrt(22 * -np.expm1(-0.4))
    assert (abs(last.displacement / free - 1) < 0.05).all()
    assert (last.w2_upper_coupling < 0.3 * last.displacement).all()
    small, large = (last.sel(alpha=alpha) for alpha in (1.0, 8.0))
    assert large.w2_upper < 0.7 * small.w2_upper
    for bound in ("kl", "w2"):
        width = last[f"{bound}_upper"] - last[f"{bound}_lower"]
        assert (
            width > -3 * last[f"{bound}_upper_se"] - 3 * last[f"{bound}_lower_se"]
        ).all()


def gibbs_outputs(x: np.ndarray, y: np.ndarray, temperature: float) -> np.ndarray:
    """Outputs of the stationary law of tanh neurons, alpha = 1, by quadrature.

    p = p_0 exp(-u G(w))/Z with G = sum_i phi'_i h(w.x_i)/(lambda n): given w, u has
    mean -G and variance 1, and w has density p_0(w) exp(G^2/2)/Z.
    """
    nodes = np.linspace(-8, 8, 321)
    w = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    h, prior = np.tanh(w @ x.T), np.exp(-np.square(w).sum(axis=1) / 2)

    def residual(f: np.ndarray) -> np.ndarray:
        g = h @ (2 * (f - y)) / (temperature * len(y))
        density = prior * np.exp(g**2 / 2)
        return f + (density / density.sum() * g) @ h

    return root(residual, np.zeros(len(y)), tol=1e-12).x


@pytest.mark.long
def test_langevin_run_reaches_the_gibbs_law(tmp_path: Path) -> None:
    path = run_config("langevin_stationary", tmp_path)
    run = mfsim.open(path.with_suffix(".h5"))
    temperature = run.config["flow"]["temperature"]
    f = gibbs_outputs(run.data["x_train"], run.data["y_train"], temperature)
    late = run.series.swap_dims(step="time").sel(time=slice(100, None))
    for name, exact in (("output_mean", f.mean()), ("output_std", f.std())):
        # Five blocks of 20 time units, each 4 relaxation times 1/lambda long.
        blocks = np.reshape(late[name].values[-200:], (5, -1)).mean(axis=1)
        error = blocks.std(ddof=1) / 5**0.5
        # The force is frozen over a step: a relative bias of order lambda eta.
        bias = temperature * run.config["integrator"]["step"] * f.std()
        assert abs(blocks.mean() - exact) < 4 * error + bias


@pytest.mark.slow
def test_arrays_are_separated_by_mini_batches(tmp_path: Path) -> None:
    path = run_config("arrays", tmp_path)
    run = mfsim.open(path.with_suffix(".h5"))
    with np.load(ROOT / "data" / "two_classes.npz") as arrays:
        np.testing.assert_array_equal(run.data["y_train"], arrays["y_train"])
        np.testing.assert_array_equal(run.data["x_train"][:, :2], arrays["x_train"])
    assert (run.data["x_train"][:, 2] == 1).all()
    np.testing.assert_allclose(run.series.train_risk[0], np.log(2), rtol=1e-6)
    assert run.series.train_error[-1] == 0
    assert run.series.test_risk[-1] < 0.2


@pytest.mark.long
def test_alpha_transition_falls_with_alpha(tmp_path: Path) -> None:
    folder = run_config(
        "alpha_transition",
        tmp_path,
        "flow.network.width=64",
        "schedule.horizon=30",
        "sweep.flow.network.alpha.num=3",
        "sweep.seed=[0, 1]",
    )
    with (folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["completed"] * 6
    np.testing.assert_allclose(
        sorted({float(r["alpha"]) for r in rows}), [1, 8**0.5, 8]
    )
    sweep = mfsim.open_sweep(folder).isel(save=-1).mean("seed")
    for name in ("displacement_relative", "kernel_drift_relative"):
        assert (np.diff(sweep[name]) < 0).all()


@pytest.mark.long
def test_kernel_regime_is_where_the_gap_falls(tmp_path: Path) -> None:
    folder = run_config(
        "kernel_regime",
        tmp_path,
        "flow.network.width=256",
        "flow.dataset.num_train=50",
        "sweep.flow.network.alpha=[4.0, 8.0, 16.0]",
        "sweep.seed=[0]",
    )
    last = mfsim.open_sweep(folder).isel(save=-1, seed=0)
    gap = last.ntk_gap.values
    # Like alpha^-4 in the end and slower at first; alpha^-2 is what is proved.
    slopes = np.diff(np.log(gap)) / np.log(2)
    assert (slopes < -2).all()
    # Noise leaves less than lambda n/2m = 1e-5; H_256 is 1/16 and more from H(p_0).
    assert last.ntk_gap_infinite[-1] > 3 * last.ntk_gap[-1]
    # The labels are apart from f_NTK, as it has not learned them, by far more.
    assert last.ntk_gap[-1] < last.train_risk[-1] / 4
    assert (np.diff(last.kernel_drift) < 0).all()
    ratio = last.kernel_lambda_max / last.kernel_lambda_min
    np.testing.assert_allclose(last.kernel_condition_number, ratio)


@pytest.mark.slow
def test_neurons_follow_the_density(tmp_path: Path) -> None:
    short = "schedule.horizon=2.0", "schedule.saves=11"
    every = sorted(kinds_for("particles_vs_density"))
    assert every != sorted(kinds_for("single_run"))
    others = kinds_for("single_run") | kinds_for("deep_relu_gd")
    assert set(every) | others == set(kinds(AbstractObservable))
    few = 'observables=["Risk", "KL"]'
    path = run_config("particles_vs_density", tmp_path, *short, f"observables={every}")
    flow = "flow.kind=ParticleFlow", "integrator.kind=ExponentialLangevin"
    other = run_config("particles_vs_density", tmp_path / "neurons", *short, *flow, few)
    grid, cloud = (mfsim.open(p.with_suffix(".h5")) for p in (path, other))
    for run in (grid, cloud):
        assert run.status == "completed"
        # On a line a smooth kernel of eight points is singular to rounding; the box,
        # the cells and the step give no cause for complaint.
        assert all(each.startswith("kernel_lambda_min") for each in run.warnings)
    exact, bounds = grid.series, cloud.series
    assert exact.boundary_mass.max() < 1e-6
    assert exact.cell_peclet.max() < 1
    for name in ("w_1", "u"):
        mass = exact[f"marginal_{name}"].sum(name) * np.diff(exact[name]).mean()
        np.testing.assert_allclose(mass, 1, atol=1e-11)
    assert (np.diff(exact.free_energy) < 0).all()
    # The prior's one peak becomes two.
    law = grid.snapshots["density"].values[-1]
    middle = law.shape[0] // 2
    assert law.max() > 1.02 * law[middle, middle]
    assert np.unravel_index(law.argmax(), law.shape)[0] != middle
    np.testing.assert_allclose(bounds.time, exact.time)
    # Outputs scatter by alpha sd(u h)/sqrt(m) < 1.6/128, the risk by 2 sqrt(risk) times
    # that at most, and less as the neurons move together: four of them.
    away = np.abs(bounds.train_risk.values - exact.train_risk.values)
    assert (away < 4 * 2 * np.sqrt(exact.train_risk.values) * 1.6 / 128 + 1e-6).all()
    kl = exact.kl.values
    assert (kl > bounds.kl_lower - 4 * bounds.kl_lower_se - 1e-9).all()
    assert (kl < bounds.kl_upper + 4 * bounds.kl_upper_se + 1e-9).all()
    assert 0.4 < kl[-1] < 0.511


@pytest.mark.long
def test_five_integrators_agree(tmp_path: Path) -> None:
    said = example("five_integrators", tmp_path)
    row = r"^(\w+) +risk (\S+), at most (\S+) off; (.+)$"
    rows = re.findall(row, said, re.MULTILINE)
    off = {kind: float(away) for kind, _, away, _ in rows}
    assert off.pop("FiniteVolume") == 0
    # Proximal steps are of first order: at the rate 4 at which the risk falls at first,
    # steps of 0.1 are off by up to (4 * 0.1)/2 of e^-1. Outputs of 4096 neurons scatter
    # by sd(u h)/64 < 1.6/64, the risk by 2 sqrt(risk) times that, and by half of it and
    # less once fitted: four of these at a risk of 0.25 are 0.1.
    assert list(off) == ["Proximal", "NoisyGD", "ExponentialLangevin", "DiffraxSolver"]
    assert 0.005 < off["Proximal"] < 0.07
    assert all(0 < off[kind] < 0.1 for kind in list(off)[1:])
    kl = {kind: [float(v) for v in re.findall(r"\d\.\d+", k)] for kind, *_, k in rows}
    assert kl["Proximal"][0] == pytest.approx(kl["FiniteVolume"][0], rel=0.01)
    for kind in ("NoisyGD", "ExponentialLangevin"):
        low, high = kl[kind]
        assert low - 0.06 < kl["FiniteVolume"][0] < high
    folder = tmp_path / "five_integrators"
    assert (folder / "five_integrators.png").read_bytes().startswith(b"\x89PNG")
    for kind in kl:
        assert mfsim.open(folder / f"{kind}.h5").status == "completed"


@pytest.mark.long
def test_kernel_prediction_is_closer_at_large_alpha(tmp_path: Path) -> None:
    said = example("kernel_prediction", tmp_path)
    rows = re.findall(r"^ +(\d+) +(\S+) +(\S+)$", said, re.MULTILINE)
    small, large = np.array(rows, dtype=float).reshape(2, 5, 3)[:, 1:]
    assert small[:, 0].tolist() == [25, 50, 75, 100]
    # The gap falls like alpha^-4 while f is close to f_NTK, as it is early.
    power = np.log(small[:, 1] / large[:, 1]) / np.log(4)
    assert (power > 3).all()
    assert 3.5 < power[0] < 4.3
    # The flow differs from the steps by their size, which only small gaps can show.
    assert (large[:, 2] > large[:, 1]).all()
    number = r"(\d+\.?\d*)"
    low, high, step, best, whole = (
        float(re.search(words + number, said)[1])  # type: ignore[index]
        for words in ("H: ", " to ", "step ", "ability ", "complexity ")
    )
    assert step == pytest.approx(100 / high, rel=0.01)
    assert best < whole < low**-0.5


@pytest.mark.slow
def test_quickstart_learns_digits(tmp_path: Path) -> None:
    said = example("quickstart", tmp_path)
    printed = dict(re.findall(r"^(\w+) = (\S+)", said, re.MULTILINE))
    last = mfsim.open(tmp_path / "quickstart.h5").series.isel(step=-1)
    for name, number in printed.items():
        assert float(number) == pytest.approx(float(last[name]), abs=1e-4)
    assert float(printed["train_risk"]) < 0.05
    assert float(printed["test_error"]) < 0.05
    assert 0.3 < float(printed["displacement_relative"]) < 1
    picture = (tmp_path / "quickstart.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.slow
def test_own_arrays_are_learned(tmp_path: Path) -> None:
    said = example("own_arrays", tmp_path)
    assert said.startswith("completed; step chosen: 0.0")
    share = re.search(r"mean square of the labels: (\S+)", said)
    assert share is not None
    assert 0 < float(share[1]) < 0.05
    assert "neurons at the end: (256, 4)" in said
    run = mfsim.open(tmp_path / "own.h5")
    with np.load(tmp_path / "own.npz") as arrays:
        np.testing.assert_array_equal(run.data["x_test"][:, :2], arrays["x_test"])


@pytest.mark.long
def test_read_sweep_shows_the_exponents_of_the_kernel_regime(tmp_path: Path) -> None:
    said = example("read_sweep", tmp_path)
    assert "{'alpha': 4, 'seed': 4}; 16 of 16 completed" in said
    number = r"(\d+\.\d+)"
    row = rf"^ +{number}" + rf" +{number} \+- {number}" * 3
    table = np.array(re.findall(row, said, re.MULTILINE), dtype=float)
    alpha, displacement, drift = table[:, 0], table[:, 3], table[:, 5]
    np.testing.assert_allclose(alpha, 256 ** (np.arange(4) / 6), atol=0.01)
    last = mfsim.open_sweep(tmp_path / "read_sweep").isel(save=-1)
    mean = last.displacement_relative.mean("seed")
    np.testing.assert_allclose(displacement, mean, atol=1e-4)
    # Displacement falls like 1/alpha, the drift of H like 1/alpha^2 down to a floor.
    slopes = np.log([displacement[-1] / displacement[-2], drift[-1] / drift[-2]])
    slopes /= np.log(alpha[-1] / alpha[-2])
    assert slopes[0] == pytest.approx(-1, abs=0.2)
    assert slopes[1] == pytest.approx(-2, abs=0.5)
    name = re.search(r"^(\w+\.h5):", said, re.MULTILINE)
    assert name is not None
    path = tmp_path / "read_sweep" / name[1]
    with xarray.open_dataset(path, group="series", engine="h5netcdf") as series:
        assert f"to {float(series.train_risk[-1]):.4f}" in said


@pytest.mark.long
def test_own_activation_learns_what_tanh_cannot(tmp_path: Path) -> None:
    said = example("own_activation", tmp_path)
    line = r"^(\w+).* train risk (\S+), test error (\S+)"
    found = re.findall(line, said, re.MULTILINE)
    errors = {kind: (float(risk), float(error)) for kind, risk, error in found}
    assert errors["Bump"][0] < 1e-3
    assert errors["Bump"][1] < 0.01
    # An odd f is right on just one of x and -x, whose parity is the same: of all inputs
    # it has half wrong, of 1000 drawn ones half +- 4 standard deviations.
    assert abs(errors["Tanh"][1] - 0.5) < 4 * 0.5 / 1000**0.5
    points = mfsim.open_sweep(tmp_path / "own_activation")
    run_id = str(points.run_id.sel(activation="Bump(gain=2.0)").values)
    run = mfsim.open(tmp_path / "own_activation" / f"{run_id}.h5")
    used = run.config["flow"]["network"]["activation"]
    assert used == {"kind": "Bump", "gain": 2.0}


@pytest.mark.long
def test_compare_regimes_needs_fewer_points_at_small_alpha(tmp_path: Path) -> None:
    said = example("compare_regimes", tmp_path)
    # The weight is given to three digits, and KL is roughly linear in it.
    assert float(re.findall(r"KL = (\S+);", said)[0]) == pytest.approx(4, abs=0.01)
    rows = re.findall(r"^ *(\d+) +(\S+) +(\S+) +(\S+) \((\S+) to (\S+)\)$", said, re.M)
    sizes, small, large, ratio, low, _ = np.array(rows, dtype=float).T
    assert sizes.tolist() == [12, 24, 48, 96]
    assert (np.diff(small) < 0).all()
    assert (np.diff(large) < 0).all()
    # Twelve points in eight dimensions tell both but the linear part.
    assert ratio[0] < 2 < low[2] < low[3]
    needs = re.findall(r"alpha = (\S+) needs n = (\S+) \((\S+) to (\S+)\)", said)
    (_, n_small, _, most), (_, n_large, _, _) = np.array(needs, dtype=float)
    assert n_small < most < n_large
    sweep = mfsim.open_sweep(tmp_path / "compare_regimes")
    assert sweep.sizes["seed"] == 4
    assert (sweep.status == "completed").all()


@pytest.mark.long
def test_deep_relu_gd_records_all_that_can_be(tmp_path: Path) -> None:
    path = run_config(
        "deep_relu_gd",
        tmp_path,
        "flow.network.width=32",
        "flow.network.depth=3",
        "flow.dataset.num_train=40",
        "schedule.horizon=100",
        "schedule.saves=6",
    )
    run = mfsim.open(path.with_suffix(".h5"))
    kept = {kind["kind"] for kind in run.config["observables"]}
    # W-hat is of stochastic descent, and without noise there is no regulariser; the
    # measures of capacity are of two layers.
    left_out = {"OnlineError", "OutputMoments", "Regulariser", "CapacityMeasures"}
    assert kinds_for("deep_relu_gd") - kept == left_out
    last = run.series.isel(step=-1)
    assert last.train_risk < run.series.train_risk[0] / 2
    assert last.layer_distance.shape == (3,)
    # a = 1/2: R is the largest distance times sqrt(32).
    assert float(last.layer_radius) == pytest.approx(
        32**0.5 * float(last.layer_distance.max())
    )
    assert float(last.twin_gap) > 0


@pytest.mark.slow
def test_deep_relu_sgd_sees_each_sample_once_and_learns(tmp_path: Path) -> None:
    folder = run_config(
        "deep_relu_sgd",
        tmp_path,
        "sweep.flow.network.width=[128]",
        "schedule.saves=5",
    )
    last = mfsim.open_sweep(folder).isel(save=-1)
    assert (last.step == 256).all()
    assert (last.online_error < 0.3).all()
    assert (last.test_error < 0.15).all()
    # Errors are shares of 256 samples.
    assert np.allclose(256 * last.online_error % 1, 0, atol=1e-6)


@pytest.mark.slow
def test_twins_are_closer_the_wider(tmp_path: Path) -> None:
    folder = run_config(
        "linearised_twin",
        tmp_path,
        "sweep.flow.network.width=[32, 256]",
        "schedule.horizon=10",
        "schedule.saves=5",
    )
    runs = mfsim.open_sweep(folder)
    last = runs.isel(save=-1)
    network, twin = (last.sel(kind=k) for k in ("WeightFlow", "LinearisedFlow"))
    # The run of the twin is what TwinGap ran along, and its kernel stands still.
    narrow, wide = np.abs(network.train_risk - twin.train_risk).values
    assert wide < narrow / 2
    gap = network.twin_gap.values
    assert gap[1] < gap[0] / 4
    assert np.allclose(twin.kernel_drift_relative, 0, atol=1e-6)


@pytest.mark.slow
def test_wide_networks_come_to_zero_training_error(tmp_path: Path) -> None:
    folder = run_config(
        "min_width_digits",
        tmp_path,
        "sweep.flow.network.active=[4, 24]",
        'sweep={"flow.network.active" = [4, 24], "seed, flow.dataset.seed" = [0, 1]}',
    )
    error = mfsim.open_sweep(folder).train_error.min("save")
    assert (error.sel(active=24) == 0).all()


@pytest.mark.slow
@pytest.mark.skipif("MFSIM_DATA" not in os.environ, reason="needs CIFAR-10's files")
def test_min_width_on_images(tmp_path: Path) -> None:
    folder = run_config(
        "min_width_cifar",
        tmp_path,
        'sweep={"flow.network.active" = [24], "seed" = [0, 1]}',
    )
    assert (mfsim.open_sweep(folder).train_error.min("save") == 0).all()


@pytest.mark.slow
def test_own_weights_are_measured(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    u0, v0, x = (draws.standard_normal(shape) for shape in ((20, 5), (3, 20), (90, 5)))
    u, v = u0 + 0.1 * draws.standard_normal(u0.shape), v0 + 0.1
    labels = (np.maximum(x @ u.T, 0) @ v.T).argmax(1)
    net = u, v, u0, v0, x, labels
    np.savez(tmp_path / "own.npz", u=u, v=v, u0=u0, v0=v0, x=x, labels=labels)
    said = example("own_weights", tmp_path / "own.npz")
    paper = theory.capacity_measures(*net)
    program = theory.capacity_measures(*net, mode="code2018")
    rows = re.findall(r"^(\w+)" + r" +(\S+)" * 4 + "$", said, re.MULTILINE)
    assert tuple(name for name, *_ in rows) == theory.CAPACITY_MEASURES
    for name, *printed in rows:
        expected = paper[f"measure_{name}"], paper[f"bound_{name}"]
        samples = (each[f"bound_{name}_samples"] for each in (paper, program))
        # Four digits are printed.
        np.testing.assert_allclose(
            np.array(printed, dtype=float), [*expected, *samples], rtol=1e-3
        )
    complexity = r"of 20 units: (\S+) \+- (\S+), from (\S+) to (\S+)$"
    found = re.search(complexity, said, re.MULTILINE)
    assert found is not None
    value, error, low, high = map(float, found.groups())
    assert low - 4 * error < value < high + 4 * error
    assert f"from {paper['rademacher_lower']:.4g} to" in found[0]
    assert "Vacuous, at least 1 for an error: vc, l1, frobenius" in said


@pytest.mark.long
def test_own_weights_trains_its_own_without_a_file_and_says_where() -> None:
    said = python(ROOT / "examples" / "own_weights.py")
    where = re.search(r"weights and points are in (\S+)$", said, re.MULTILINE)
    assert where is not None
    with np.load(where[1]) as arrays:
        net = [arrays[name] for name in ("u", "v", "u0", "v0", "x", "labels")]
    paper = theory.capacity_measures(*net)
    # Trained until the mean loss was 0.01, so the margin is some log(1/0.01).
    assert 1 < paper["margin"] < 10
    assert f"margin {paper['margin']:.4g}," in said
    with pytest.raises(AssertionError, match="FILE must be an .npz file, got"):
        example("own_weights", Path(where[1]).with_name("other.npz"))


@pytest.mark.slow
def test_classifier_sgd_stops_where_it_fits_and_resumes(tmp_path: Path) -> None:
    short = "sweep={'flow.network.width' = [16, 64]}", "integrator.step=0.2"
    folder = run_config("classifier_sgd", tmp_path, *short)
    whole = mfsim.open_sweep(folder)
    assert (whole.status == "completed").all()
    last = (whole.step.notnull().sum("save") - 1).clip(min=0)
    risk = whole.train_risk
    assert (risk.isel(save=last) < 0.01).all()
    assert (risk.isel(save=last - 1) >= 0.01).all()
    end = whole.isel(save=last)
    # A point in a wrong class costs log 2 at least.
    assert (end.train_error <= end.train_risk / np.log(2)).all()
    assert (end.margin > 0).all()
    # Fewer units have to move farther each.
    assert end.unit_capacity[1] < end.unit_capacity[0]
    assert (end.rademacher_lower < end.rademacher_upper * end.margin).all()
    # What is missing of a sweep over widths is run, the rest is left as it is.
    gone, kept = sorted(folder.glob("*.h5"))
    time = kept.stat().st_mtime_ns
    gone.unlink()
    python(*MFSIM, "run", *_again("classifier_sgd", tmp_path, *short))
    assert kept.stat().st_mtime_ns == time
    again = mfsim.open_sweep(folder)
    xarray.testing.assert_equal(again.train_risk, whole.train_risk)


def _again(name: str, out: Path, *overrides: str) -> list[str | Path]:
    changes = [part for line in overrides for part in ("--set", line)]
    config = ROOT / "configs" / f"{name}.toml"
    return [config, "--out", out, "--quiet", "--resume", *changes]


@pytest.mark.slow
def test_capacity_against_alpha_trades_capacity_for_impact(tmp_path: Path) -> None:
    folder = run_config(
        "capacity_against_alpha",
        tmp_path,
        "sweep={'flow.network.alpha' = [1.0, 8.0]}",
        "flow.network.width=64",
        "schedule.saves=21",
    )
    sweep = mfsim.open_sweep(folder)
    last = (sweep.step.notnull().sum("save") - 1).clip(min=0)
    end, start = sweep.isel(save=last), sweep.isel(save=0)
    assert (end.unit_capacity[1] < end.unit_capacity[0] / 2).all()
    # V is linear in alpha at one start.
    ratio = start.unit_impact[1] / start.unit_impact[0]
    assert float(ratio) == pytest.approx(8, rel=1e-6)


@pytest.mark.slow
def test_over_parameterisation_says_what_the_theorems_say(tmp_path: Path) -> None:
    said = example("over_parameterisation", tmp_path)
    rows = re.findall(r"^ *(\S+) +(\S+) +(\S+) +(\S+) +(yes|no)$", said, re.M)
    radius, loss, gap, bound = np.array(rows)[:, :4].astype(float).T
    assert len(radius) == 5
    assert (np.diff(loss) < 0).all()
    assert (gap < 1e-6).all()
    # CG 3.3: four times the loss, L R/sqrt(n), sqrt(log(1/delta)/n), to three digits.
    expected = 4 * loss + 3 * radius / 200**0.5 + (np.log(20) / 200) ** 0.5
    np.testing.assert_allclose(bound, expected, rtol=0.01)
    true, random = re.findall(r"classifiability (\S+)", said)
    assert float(random) > 1.5 * float(true)
