"""The command line and the file: what is promised, and every refusal."""

import csv
import fcntl
import os
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

import mfsim
from mfsim import cli
from tests.cli.helpers import (
    assert_equal_to_the_bit,
    call,
    leftovers,
    write_config,
)

SERIES = {"train_risk", "test_risk", "displacement", "displacement_relative"}
Refuse = Callable[..., str]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config `a.toml`, its finished run `runs/a.h5`, and what the run said."""
    folder = tmp_path_factory.mktemp("cli")
    write_config(folder)
    code, out, err = call(folder, "run", "a.toml")
    assert (code, out) == (0, ""), err
    assert "a: completed at step 48/48" in err
    return folder


@pytest.fixture(scope="session")
def swept(folder: Path) -> Path:
    """The folder of a finished sweep over width and alpha up to sqrt(width)."""
    sets = [
        "sweep.flow.network.width=[16, 64]",
        'sweep.flow.network.alpha={from = 1.0, to = "sqrt(width)", num = 2}',
    ]
    args = [word for line in sets for word in ("--set", line)]
    code, out, err = call(folder, "run", "a.toml", *args, "--quiet")
    assert (code, out, err) == (0, "", "")
    return folder / "runs" / "a"


@pytest.fixture
def refuse(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> Refuse:
    """Calls `mfsim` within this process; one line is all it may say or leave."""

    def call(*words: object, code: int = 2) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mfsim", *map(str, words)])
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as ending:
            cli.main()
        out, err = capfd.readouterr()
        assert ending.value.code == code, err
        assert out == ""
        assert err.startswith("mfsim: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return call


def run_words(folder: Path, *sets: str) -> list[object]:
    words = [word for line in sets for word in ("--set", line)]
    return ["run", folder / "a.toml", "--quiet", *words]


def test_run_writes_one_file_that_says_what_it_is(folder: Path) -> None:
    assert os.listdir(folder / "runs")[0] in ("a.h5", "a")
    assert leftovers(folder) == []
    with h5py.File(folder / "runs" / "a.h5") as file:
        promised = "format_version status config_hash mfsim_version created device"
        promised += " dtype seed jax_version numpy_version diffrax_version ott_version"
        assert set(f"{promised} h5py_version".split()) <= set(file.attrs)
        assert file.attrs["status"] == "completed"
        assert file.attrs["format_version"] == 1
        assert set(file["series"]) == SERIES | {
            "step", "time", "kernel_time", "stable_step"
        }  # fmt: skip
        assert file["series/step"].is_scale
        np.testing.assert_array_equal(file["series/step"], [0, 12, 24, 36, 48])
        # Exactly: t = eta k and tau = alpha^2 t, each one rounding of a double.
        t = 0.01 * np.array([0, 12, 24, 36, 48])
        np.testing.assert_array_equal(file["series/time"], t)
        np.testing.assert_array_equal(file["series/kernel_time"], 4.0 * t)
        for dataset in file["series"].values():
            assert {"unit", "symbol", "description"} <= set(dataset.attrs)
        assert file["particles/neurons/position/value"].shape == (3, 16, 4)
        np.testing.assert_array_equal(
            file["particles/neurons/position/step"], [0, 24, 48]
        )
        assert file["data/x_train"].shape == (8, 3)
        assert {"compiling", "advancing"} <= set(file["timing"].attrs)
        config = tomllib.loads(file["config"].asstr()[()])
    assert config["flow"]["network"]["input_std"] == 1.0


def test_file_opens_with_xarray_alone(folder: Path) -> None:
    path = folder / "runs" / "a.h5"
    with xarray.open_dataset(path, group="series", engine="h5netcdf") as found:
        assert set(found.data_vars) >= SERIES
        assert set(found.coords) == {"step", "time", "kernel_time"}
        assert float(found["train_risk"].sel(step=48)) > 0


def test_info_and_its_config_repeat_the_run(folder: Path, tmp_path: Path) -> None:
    code, out, err = call(folder, "info", "runs/a.h5")
    assert (code, err) == (0, "")
    assert "completed" in out
    assert "5 rows to step 48" in out
    code, out, err = call(folder, "info", "--config", "runs/a.h5")
    assert (code, err) == (0, "")
    (tmp_path / "b.toml").write_text(out)
    assert call(tmp_path, "run", "b.toml", "--out", "new", "--quiet") == (0, "", "")
    assert os.listdir(tmp_path / "new") == ["b.h5"]
    assert_equal_to_the_bit(tmp_path / "new" / "b.h5", folder / "runs" / "a.h5")


def test_python_mirrors_the_command_line_at_any_cadence(
    folder: Path, tmp_path: Path
) -> None:
    wanted = mfsim.open(folder / "runs" / "a.h5")
    experiment = mfsim.load(folder / "a.toml", {"schedule.saves": 49})
    found = mfsim.run(experiment, tmp_path / "often.h5")
    assert found.series.sizes["step"] == 49
    for name in SERIES:
        often = found.series[name].sel(step=wanted.series.step)
        np.testing.assert_array_equal(often, wanted.series[name])
    np.testing.assert_array_equal(
        found.snapshots["neurons"].sel(step=48), wanted.snapshots["neurons"][-1]
    )


def test_check_prints_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    write_config(tmp_path)
    words = ("--set", "integrator.step='auto'", "--set", "sweep.seed=[0, 1]")
    code, out, err = call(tmp_path, "check", "a.toml", *words)
    assert (code, err) == (0, "")
    for word in ("[flow.network]", "8 training and 4 test", "memory", "48 of", "time"):
        assert word in out
    assert os.listdir(tmp_path) == ["a.toml"]


def test_kinds(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, some in (([], "ParticleFlow"), (["activation"], "Tanh")):
        monkeypatch.setattr(sys, "argv", ["mfsim", "kinds", *words])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        assert ending.value.code == 0
        out = capsys.readouterr().out
        assert some in out
    assert "ParticleFlow" not in out


def test_sweep_has_a_file_a_point_and_a_table(swept: Path) -> None:
    with (swept / "sweep.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    names = ["run_id", "status", "width", "alpha"]
    assert list(rows[0])[:4] == names
    assert set(rows[0]) >= SERIES
    points = [(int(row["width"]), float(row["alpha"])) for row in rows]
    assert points == [(16, 1.0), (16, 4.0), (64, 1.0), (64, 8.0)]
    assert {row["status"] for row in rows} == {"completed"}
    files = sorted(f"{row['run_id']}.h5" for row in rows)
    assert sorted(os.listdir(swept)) == [*files, "sweep.csv"]
    found = mfsim.open_sweep(swept)
    assert dict(found.status.sizes) == {"width": 2, "alpha_index": 2}
    assert found.alpha.dims == ("width", "alpha_index")
    np.testing.assert_array_equal(found.alpha, [[1.0, 4.0], [1.0, 8.0]])
    last = found.train_risk.isel(save=-1).values.ravel()
    np.testing.assert_array_equal(last, [float(row["train_risk"]) for row in rows])


SWEEPS = [
    ({"sweep.flow.dataset.num_train": [8, 12]}, {"num_train": [8, 12]}),
    ({"sweep.flow.network.activation": ["Tanh", "Relu"]}, {"activation": None}),
    ({"sweep.seed, flow.dataset.seed": [3, 4]}, {"seed": [3, 4]}),
]


@pytest.mark.parametrize(("axis", "dims"), SWEEPS)
def test_whatever_is_swept_becomes_an_axis(
    folder: Path, tmp_path: Path, axis: dict, dims: dict
) -> None:
    found = mfsim.run(mfsim.load(folder / "a.toml", axis), tmp_path / "sweep")
    ((name, values),) = dims.items()
    assert dict(found.status.sizes) == {name: 2}
    assert (found.status == "completed").all()
    if values:
        np.testing.assert_array_equal(found[name], values)
    assert found.train_risk.shape == (2, 5)
    assert np.isfinite(found.train_risk).all()
    assert float(found.train_risk[0, 0]) != float(found.train_risk[1, 0]) or not values


def test_double_precision_batches_and_frozen_inputs(
    folder: Path, tmp_path: Path
) -> None:
    overrides = {
        "dtype": "float64",
        "integrator.batch_size": 3,
        "flow.temperature": 0,
        "flow.network.trainable": "output",
    }
    run = mfsim.run(mfsim.load(folder / "a.toml", overrides), tmp_path / "a.h5")
    neurons = run.snapshots["neurons"]
    assert neurons.dtype == np.float64
    assert run.attributes["dtype"] == "float64"
    np.testing.assert_array_equal(neurons[0, :, :3], neurons[-1, :, :3])
    assert (neurons[0, :, 3] != neurons[-1, :, 3]).all()
    assert run.series.train_risk[-1] < run.series.train_risk[0]


def test_divergence_ends_one_point_with_advice_and_no_other(folder: Path) -> None:
    words = run_words(
        folder,
        'flow.network.activation="Identity"',
        "sweep.integrator.step=[0.01, 50.0]",
    )
    words += ["--out", folder / "diverged"]
    code, out, err = call(folder, *words)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1, err
    assert "integrator.step must be below" in err
    stable = float(err.partition("below ")[2].split()[0])
    assert 0.01 < stable < 50
    found = mfsim.open_sweep(folder / "diverged" / "a")
    assert found.status.values.tolist() == ["completed", "diverged"]
    assert np.isfinite(found.train_risk[1, 0])
    files = {p: p.stat().st_mtime_ns for p in (folder / "diverged").rglob("*.h5")}
    again = call(folder, *words, "--resume")
    assert again == (code, out, err)
    assert {p: p.stat().st_mtime_ns for p in files} == files
    assert leftovers(folder / "diverged") == []


BAD_VALUES = [
    ("flow.kind='Foo'", "flow.kind must be one of"),
    ("flow.network.activation='tahn'", "flow.network.activation.kind must be one of"),
    ("flow.network.widht=3", "flow.network.widht is not a field of TwoLayer"),
    ("flow.network.width=2.5", "flow.network.width must be a whole number, got 2.5"),
    ("flow.network.width=0", "flow.network.width must be at least 1"),
    ("flow.network.width=31", "flow.network.width must be even"),
    ("flow.network.alpha=nan", "flow.network.alpha must be finite"),
    ("flow.network.alpha='a'", "flow.network.alpha must be a number"),
    ("flow.network.alpha=0", "flow.network.alpha must be above 0"),
    ("flow.temperature=-1", "flow.temperature must be at least 0"),
    ("flow.temperature=inf", "flow.temperature must be finite"),
    ("integrator.step='fast'", "integrator.step must be a number or 'auto'"),
    ("integrator.kind='Euler'", "integrator.kind must be one of"),
    ("integrator.batch_size=9", "integrator.batch_size must be at most the 8"),
    ("flow.loss='Logistic'", "flow.dataset.labels must be -1 or 1"),
    ("observables=['Foo']", "observables[0].kind must be one of"),
    ("observables=['Risk', 'Risk']", "observables[1] must record new series"),
    ("schedule.stop='foo < 1'", "schedule.stop must name a recorded series"),
    ("schedule.stop='train_risk'", "schedule.stop must read SERIES"),
    ("schedule.stop='train_risk < nan'", "schedule.stop must"),
    ("schedule.horizon=1.0", "schedule.horizon or num_steps or epochs must be given"),
    ("schedule.num_steps=100000000000000000000", "schedule.num_steps must be"),
    ("schedule={horizon=1e300}", "schedule.horizon must be"),
    ("schedule.snapshots=1", "schedule.snapshots must be 0 or at least 2"),
    ("seed=-1", "seed must be at least 0"),
    ("dtype='float16'", "dtype must be one of"),
    ("foo=1", "'foo' is not a top-level key"),
    ("no equals sign", "an override must read PATH=VALUE"),
    ("sweep.flow.nework.alpha=[1.0, 2.0]", "flow.nework is not a field"),
    ("sweep.seed=[0, 0]", "sweep.seed must give different experiments"),
    ("sweep.flow.network.alpha={from=1,to='open(1)',num=2}", "alpha.to must be"),
    ("sweep.flow.network.alpha={from=1,to='sqrt(foo)',num=2}", "must use names among"),
    ("sweep.flow.network.alpha={from=1,to='9**9**9**9',num=2}", "must be finite"),
    ("flow.dataset.num_train=0", "flow.dataset.num_train must be at least 1"),
    ("flow.dataset.prepare.pca=9", "flow.dataset.prepare.pca must be at most 3"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), BAD_VALUES)
def test_bad_value_is_one_line(
    folder: Path, refuse: Refuse, line: str, message: str
) -> None:
    assert message in refuse(*run_words(folder, line))


ONES = np.ones((5, 2))
BAD_ARRAYS = [
    ({"x_train": ONES, "y_train": np.ones(4)}, "y_train must have 5 labels"),
    ({"x_train": ONES * np.nan, "y_train": np.ones(5)}, "x_train must be finite"),
    ({"x_train": ONES}, "y_train must be in the file"),
    ({"x_train": ONES.astype(str), "y_train": np.ones(5)}, "must hold real numbers"),
    (b"no archive", "must be a readable .npz file"),
    (None, "must be an existing file"),
]


@pytest.mark.parametrize(("content", "message"), BAD_ARRAYS)
@pytest.mark.parametrize("sweep", [[], ["sweep.seed=[0, 1]"]])
def test_bad_arrays_are_one_line(
    folder: Path, refuse: Refuse, tmp_path: Path, content, message: str, sweep: list
) -> None:
    path = tmp_path / "points.npz"
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    dataset = f"flow.dataset={{kind='ArrayFile', path='{path}'}}"
    err = refuse(*run_words(folder, dataset, *sweep))
    assert message in err if not sweep or content else "flow.dataset.path must" in err
    assert "flow.dataset.path" in err


def test_auto_step_of_a_kernel_that_vanishes_is_refused(
    folder: Path, refuse: Refuse, tmp_path: Path
) -> None:
    np.savez(tmp_path / "zero.npz", x_train=0 * ONES, y_train=np.ones(5))
    dataset = f"flow.dataset={{kind='ArrayFile', path='{tmp_path / 'zero.npz'}'}}"
    sets = dataset, "integrator.step='auto'", "flow.temperature=0"
    assert "integrator.step" in refuse(*run_words(folder, *sets))


BAD_FILES = [
    (b"", "must be a configuration, got an empty file"),
    (b"\xff\xfe\x00", "must be UTF-8"),
    (b"[flow", "must be valid TOML"),
    (None, "must be a readable TOML file"),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_bad_config_file_is_one_line(
    refuse: Refuse, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    assert message in refuse("run", path)
    assert message in refuse("check", path)


def test_other_bad_words_are_one_line(
    folder: Path, refuse: Refuse, tmp_path: Path
) -> None:
    assert "must be a readable TOML file" in refuse("run", tmp_path)
    assert "family must be one of" in refuse("kinds", "foo")
    assert "exclude each other" in refuse(*run_words(folder), "--resume", "--overwrite")
    assert "device must be one of" in refuse(*run_words(folder), "--device", "tpu")
    (tmp_path / "file").write_text("")
    assert "not an mfsim file" in refuse("info", tmp_path / "file")
    assert "none.h5" in refuse("info", tmp_path / "none.h5")
    assert "got none" in refuse("info", tmp_path)
    err = refuse(*run_words(folder), "--out", tmp_path / "file" / "below", code=1)
    assert "cannot be made" in err


def test_usage_errors_and_no_gpu(folder: Path) -> None:
    for words in (["run"], ["run", "a.toml", "--foo"], ["walk"], ["info"]):
        code, out, err = call(folder, *words)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
    if not shutil.which("nvidia-smi"):
        words = [*run_words(folder), "--device", "gpu", "--overwrite"]
        code, _, err = call(folder, *words)
        assert code == 2
        assert err.count("\n") == 1, err
        assert "device must be one of ['cpu']" in err


def test_debug_shows_the_traceback(folder: Path) -> None:
    code, _, err = call(folder, "--debug", *run_words(folder, "seed=-1"))
    assert code != 0
    assert "Traceback" in err
    assert "seed must be at least 0" in err


@pytest.fixture
def unfinished(folder: Path, tmp_path: Path) -> Path:
    """A copy of the run that says of itself that it was killed."""
    path = tmp_path / "runs" / "a.h5"
    path.parent.mkdir()
    shutil.copy(folder / "runs" / "a.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs["status"] = "running"
    return path


def test_what_exists_is_never_lost(
    folder: Path, refuse: Refuse, unfinished: Path
) -> None:
    before = unfinished.read_bytes()
    words = run_words(folder)
    assert "must not exist; pass --resume" in refuse(*words)
    changed = run_words(folder, "flow.network.alpha=3.0")
    err = refuse(*changed, "--resume")
    assert "must have been made with this configuration" in err
    with Path(f"{unfinished}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "written by another run" in refuse(*words, "--resume")
        assert "written by another run" in refuse(*words, "--overwrite", code=1)
    Path(f"{unfinished}.lock").unlink()
    assert unfinished.read_bytes() == before
    unfinished.write_text("something else")
    assert "not an mfsim file" in refuse(*words, "--resume")
    assert unfinished.read_text() == "something else"


def test_finished_run_is_skipped(folder: Path) -> None:
    path = folder / "runs" / "a.h5"
    before = path.read_bytes()
    code, out, err = call(folder, *run_words(folder), "--resume")
    assert (code, out, err) == (0, "", "")
    assert path.read_bytes() == before


@pytest.mark.parametrize("flag", [None, "--resume", "--overwrite"])
def test_a_folder_never_holds_two_sweeps(
    folder: Path, swept: Path, refuse: Refuse, tmp_path: Path, flag: str | None
) -> None:
    """Points of another sweep in one folder would make it unreadable."""
    shutil.copytree(swept, tmp_path / "runs" / "a")
    words = run_words(folder, "sweep.seed=[5, 6]", "sweep.flow.network.alpha=[1.0]")
    assert "sweep" in refuse(*words, *([flag] if flag else []))
    mfsim.open_sweep(tmp_path / "runs" / "a")
