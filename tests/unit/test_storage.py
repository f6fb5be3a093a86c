"""The file of one run: what is written is read back, by mfsim and by others."""

import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from mfsim.errors import ConfigError, FormatError, MfsimError
from mfsim.storage import (
    DataFile,
    Recorder,
    Series,
    open_sweep,
    open_trajectory,
    safe_file,
    write_sweep_table,
)

SERIES = {
    "train_risk": Series("1", "R", "mean loss on the training set"),
    "spectrum": Series("1", "lambda", "eigenvalues", dims=("mode",), shape=(3,)),
    "drift": Series("1", "D", "kernel drift", dtype="float32"),
}
NEURONS = np.random.default_rng(0).normal(size=(6, 5))


def make(path: Path, **options) -> Recorder:
    given = {
        "attributes": {"config_hash": "abc", "mfsim_version": "0.1", "seed": 3},
        "config": 'seed = 3\n[flow]\nkind = "ParticleFlow"\n',
        "series": SERIES,
        "absent": {"test_risk": "the dataset has no test set"},
        "data": {"x_train": np.arange(6.0).reshape(3, 2)},
    }
    return Recorder.create(path, **(given | options))


def append(recorder: Recorder, step: int, **values) -> None:
    given = {"train_risk": 1 / (1 + step), "spectrum": np.full(3, float(step))}
    recorder.append(step, 0.5 * step, 2.0 * step, given | values)


def append_until_full(recorder: Recorder, steps: list[int]) -> None:
    """Commit row after row, noting each once it is committed."""
    for step in range(10_000):
        append(recorder, step)
        recorder.commit()
        steps.append(step)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.h5"


@pytest.fixture
def finished(path: Path) -> Path:
    recorder = make(path, planned_rows=4, planned_snapshots=2)
    for step in range(6):
        append(recorder, step)
        recorder.commit()
    recorder.snapshot(0, 0.0, {"particles/neurons": NEURONS, "density": np.ones(4)})
    recorder.snapshot(5, 2.5, {"particles/neurons": 2 * NEURONS, "density": np.ones(4)})
    recorder.warn("the step is past the stability limit")
    recorder.warn("the step is past the stability limit")
    recorder.finish("completed", {"advancing": 1.5}, "reached the horizon")
    return path


class TestReading:
    def test_series(self, finished: Path) -> None:
        run = open_trajectory(finished)
        np.testing.assert_array_equal(run.series["step"], np.arange(6))
        np.testing.assert_array_equal(run.series["kernel_time"], 2.0 * np.arange(6))
        np.testing.assert_array_equal(
            run.series["train_risk"], 1 / (1 + np.arange(6.0))
        )
        assert run.series["spectrum"].dims == ("step", "mode")
        assert run.series["train_risk"].attrs == {
            "unit": "1",
            "symbol": "R",
            "description": "mean loss on the training set",
        }

    def test_value_not_given_is_nan(self, finished: Path) -> None:
        assert np.isnan(open_trajectory(finished).series["drift"]).all()

    def test_all_else(self, finished: Path) -> None:
        run = open_trajectory(finished)
        assert run.status == "completed"
        assert run.attributes["message"] == "reached the horizon"
        assert run.attributes["format_version"] == 1
        assert run.config["flow"] == {"kind": "ParticleFlow"}
        assert run.absent == {"test_risk": "the dataset has no test set"}
        assert run.timing == {"advancing": 1.5}
        assert run.warnings == ("the step is past the stability limit",)
        np.testing.assert_array_equal(run.data["x_train"], np.arange(6.0).reshape(3, 2))

    def test_snapshots(self, finished: Path) -> None:
        run = open_trajectory(finished)
        assert set(run.snapshots) == {"neurons", "neurons_3d", "density"}
        neurons = run.snapshots["neurons"]
        assert neurons.dims == ("step", "neuron", "coordinate")
        np.testing.assert_array_equal(neurons["time"], [0.0, 2.5])
        np.testing.assert_array_equal(neurons, [NEURONS, 2 * NEURONS])
        np.testing.assert_array_equal(
            neurons.sel(step=5).isel(coordinate=-1), 2 * NEURONS[:, -1]
        )
        np.testing.assert_array_equal(neurons.isel(step=[1, 0])[1], NEURONS)

    def test_view_in_space(self, finished: Path) -> None:
        view = open_trajectory(finished).snapshots["neurons_3d"].values
        np.testing.assert_array_equal(view[0, :, 0], NEURONS[:, -1])
        # The second moments along principal directions are the largest eigenvalues.
        moments = np.linalg.eigvalsh(NEURONS[:, :-1].T @ NEURONS[:, :-1])[::-1]
        np.testing.assert_allclose((view[0] ** 2).sum(0)[1:], moments[:2])

    @pytest.mark.parametrize("dim", [0, 1])
    def test_view_of_few_dimensions(self, path: Path, dim: int) -> None:
        recorder = make(path)
        recorder.snapshot(0, 0.0, {"particles/neurons": NEURONS[:, : dim + 1]})
        recorder.finish("diverged", {})
        view = open_trajectory(path).snapshots["neurons_3d"].values
        assert view.shape == (1, 6, 3)
        assert not view[..., dim + 1 :].any()

    def test_large_data_is_kept_by_reference(self, path: Path) -> None:
        large = np.zeros(2**21 + 1)
        reference = DataFile("/data/train.npz", "0" * 64)
        make(path, data={"x_train": large, "x_test": reference}).finish("failed", {})
        data = open_trajectory(path).data
        assert data["x_test"] == reference
        assert isinstance(data["x_train"], DataFile)
        assert len(data["x_train"].sha256) == 64
        assert path.stat().st_size < 2**20


class TestOtherReaders:
    def test_plain_h5py(self, finished: Path) -> None:
        with h5py.File(finished) as file:
            assert file.attrs["status"] == "completed"
            assert file["config"].asstr()[()].startswith("seed = 3")
            assert file["series/time"].dims[0][0].name == "/series/step"
            assert file["series/train_risk"].chunks == (4,)

    def test_xarray(self, finished: Path) -> None:
        with xarray.open_dataset(finished, group="series", engine="h5netcdf") as found:
            assert found.sizes == {"step": 6, "mode": 3}
            assert {"time", "kernel_time"} <= set(found.coords)
            xarray.testing.assert_equal(found.load(), open_trajectory(finished).series)

    def test_h5md(self, finished: Path) -> None:
        pyh5md = pytest.importorskip("pyh5md")
        with pyh5md.File(str(finished), "r") as file:
            group = file.particles_group("neurons")
            position = pyh5md.element(group, "position")
            np.testing.assert_array_equal(position.value[1], 2 * NEURONS)
            np.testing.assert_array_equal(position.step[:], [0, 5])

    def test_molecular_viewers(self, finished: Path) -> None:
        pytest.importorskip("MDAnalysis")
        from MDAnalysis import Universe

        universe = Universe.empty(6, trajectory=False)
        universe.load_new(str(finished), format="H5MD", convert_units=False)
        expected = open_trajectory(finished).snapshots["neurons_3d"].values
        frames = [frame.positions.copy() for frame in universe.trajectory]
        np.testing.assert_allclose(frames, expected, rtol=1e-6)

    def test_xarray_fills_rows_that_are_not_there_yet(self, finished: Path) -> None:
        with h5py.File(finished, "r+") as file:
            file["series/train_risk"].resize(5, axis=0)
        with xarray.open_dataset(finished, group="series", engine="h5netcdf") as found:
            assert np.isnan(found["train_risk"]).values.tolist() == [False] * 5 + [True]
        assert open_trajectory(finished).series.sizes["step"] == 5


class TestWriting:
    def test_existing_file_is_kept(self, finished: Path) -> None:
        before = finished.read_bytes()
        with pytest.raises(ConfigError, match="--resume to continue .* --overwrite"):
            make(finished)
        assert finished.read_bytes() == before
        make(finished, overwrite=True).close()
        assert open_trajectory(finished).series.sizes["step"] == 0

    def test_overwriting_fails_without_loss(self, finished: Path) -> None:
        before = finished.read_bytes()
        with pytest.raises(TypeError):
            make(finished, overwrite=True, data={"x_train": np.array([object()])})
        assert finished.read_bytes() == before
        assert os.listdir(finished.parent) == ["run.h5"]

    def test_second_writer_is_refused(self, path: Path) -> None:
        with make(path), pytest.raises(ConfigError, match="being written by another"):
            make(path, overwrite=True)
        assert os.listdir(path.parent) == ["run.h5"]

    def test_uncommitted_rows_are_not_there(self, path: Path) -> None:
        with make(path) as recorder:
            append(recorder, 0)
            recorder.commit()
            append(recorder, 1)
            assert open_trajectory(path).series.sizes["step"] == 1
            recorder.commit()
            assert open_trajectory(path).series.sizes["step"] == 2

    def test_wrong_rows(self, path: Path) -> None:
        with make(path) as recorder:
            append(recorder, 5)
            with pytest.raises(ValueError, match="must be above 5, got 5"):
                append(recorder, 5)
            with pytest.raises(ValueError, match="spectrum must have shape"):
                append(recorder, 6, spectrum=np.ones(2))
            with pytest.raises(ValueError, match=r"got \['risk'\]"):
                append(recorder, 6, risk=1.0)
            with pytest.raises(ValueError, match="status must be one of"):
                recorder.finish("done", {})

    def test_axes_must_agree(self, path: Path) -> None:
        other = Series("1", "x", "other", dims=("mode",), shape=(4,))
        with pytest.raises(ValueError, match="length 3 along mode"):
            make(path, series=SERIES | {"other": other})

    def test_folder_that_cannot_be(self, path: Path) -> None:
        path.write_text("")
        with pytest.raises(ConfigError, match="cannot be made"):
            make(path / "run.h5")


class TestResuming:
    def leaves(self, step: int) -> list[np.ndarray]:
        return [np.full((2, 3), step, dtype="float32"), np.array([step, 7], "uint32")]

    def record(self, path: Path) -> None:
        with make(path, planned_rows=2) as recorder:
            for step in range(0, 50, 10):
                append(recorder, step)
                recorder.snapshot(step, 0.0, {"particles/neurons": NEURONS})
                if step in (10, 20, 30):
                    recorder.save_checkpoint(step, self.leaves(step))
            recorder.commit()

    def test_continues_from_the_checkpoint(self, path: Path) -> None:
        self.record(path)
        with Recorder.resume(path, config_hash="abc") as recorder:
            assert recorder.checkpoint is not None
            step, leaves = recorder.checkpoint
            assert step == 30
            for found, expected in zip(leaves, self.leaves(30), strict=True):
                np.testing.assert_array_equal(found, expected)
                assert found.dtype == expected.dtype
            append(recorder, 35)
            recorder.finish("completed", {})
        run = open_trajectory(path)
        np.testing.assert_array_equal(run.series["step"], [0, 10, 20, 30, 35])
        np.testing.assert_array_equal(run.series["spectrum"][:, 0], run.series["step"])
        np.testing.assert_array_equal(
            run.snapshots["neurons_3d"]["step"], [0, 10, 20, 30]
        )

    def test_torn_checkpoint_leaves_the_older(self, path: Path) -> None:
        self.record(path)
        with h5py.File(path, "r+") as file:
            newest = file["checkpoint/slots"][:, 0].argmax()
            file[f"checkpoint/slot_{newest}/leaf_0"][0, 0] += 1
        with Recorder.resume(path, config_hash="abc") as recorder:
            assert recorder.checkpoint is not None
            assert recorder.checkpoint[0] == 20

    def test_without_checkpoint_starts_over(self, path: Path) -> None:
        with make(path) as recorder:
            append(recorder, 0)
            recorder.commit()
        with Recorder.resume(path, config_hash="abc") as recorder:
            assert recorder.checkpoint is None
            append(recorder, 0)
            recorder.commit()
        assert open_trajectory(path).series.sizes["step"] == 1

    def test_finished_run_runs_again(self, finished: Path) -> None:
        Recorder.resume(finished, config_hash="abc").close()
        run = open_trajectory(finished)
        assert run.status == "running"
        assert "neurons_3d" not in run.snapshots

    def test_refusals(self, finished: Path) -> None:
        with pytest.raises(ConfigError, match="hash is xyz, got abc"):
            Recorder.resume(finished, config_hash="xyz")
        with pytest.raises(FormatError, match="got no file"):
            Recorder.resume(finished.with_name("none.h5"), config_hash="abc")
        assert os.listdir(finished.parent) == ["run.h5"]


class LoggedFile(io.FileIO):
    """A file that notes what it holds after every half of every write."""

    states: list[bytes]

    def write(self, data) -> int:  # type: ignore[override]
        data = bytes(data)
        start, half = self.tell(), len(data) // 2
        for part in (data[:half], data[half:]):
            super().write(part)
            self.states.append(Path(str(self.name)).read_bytes())
        self.seek(start + len(data))
        return len(data)


class TestKill:
    def test_every_state_on_disk_is_whole(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A kill leaves a prefix of the writes, the last one perhaps in part."""
        states: list[bytes] = []
        opened: list[LoggedFile] = []

        def open_logged(name: Path, mode: str) -> h5py.File:
            if mode == "w" or name != path:
                return h5py.File(name, mode, libver="earliest", locking=False)
            raw = LoggedFile(name, "r+")
            raw.states = states
            opened.append(raw)
            options = {"libver": "earliest", "rdcc_nbytes": 0}
            return h5py.File(raw, "r+", driver="fileobj", **options)

        monkeypatch.setattr(safe_file, "_open", open_logged)
        leaves = [np.zeros(4)]
        committed = []
        with make(path, planned_snapshots=8) as recorder:
            append(recorder, 0)
            recorder.snapshot(0, 0.0, {"particles/neurons": NEURONS})
            recorder.save_checkpoint(0, leaves)
            states.clear()
            for step in range(1, 3):
                append(recorder, step)
                recorder.snapshot(step, 0.0, {"particles/neurons": NEURONS + step})
                recorder.save_checkpoint(step, [leaves[0] + step])
                committed += [step] * (len(states) - len(committed))
        committed += [2] * (len(states) - len(committed))
        for raw in opened:
            raw.close()
        monkeypatch.undo()
        assert len(states) > 50
        for state, step in dict(zip(states, committed, strict=True)).items():
            self.check(path, state, step)

    def check(self, path: Path, state: bytes, step: int) -> None:
        """Rows before `step` are there; that of `step` wholly or not at all."""
        path.write_bytes(state)
        run = open_trajectory(path)
        rows = run.series.sizes["step"]
        assert rows in (step, step + 1)
        np.testing.assert_array_equal(run.series["step"], np.arange(rows))
        np.testing.assert_array_equal(run.series["time"], 0.5 * np.arange(rows))
        np.testing.assert_array_equal(run.series["spectrum"][:, 2], np.arange(rows))
        neurons = run.snapshots["neurons"].values
        assert len(neurons) >= step
        for index, found in enumerate(neurons):
            np.testing.assert_array_equal(found, NEURONS + index)
        with xarray.open_dataset(path, group="series", engine="h5netcdf") as found:
            np.testing.assert_array_equal(found["step"][:step], np.arange(step))
        with h5py.File(path) as file:
            assert len(file["series/train_risk"]) >= step
        with Recorder.resume(path, config_hash="abc") as recorder:
            assert recorder.checkpoint is not None
            at, leaves = recorder.checkpoint
            assert at in (step - 1, step)
            np.testing.assert_array_equal(leaves[0], np.full(4, float(at)))


class TestFullDisk:
    def test_is_said_before_writing(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(path.parent)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(MfsimError, match=r"must have room for \d+ bytes, 1000 are"):
            make(path)
        assert os.listdir(path.parent) == []

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "disk"
        folder.mkdir()
        if os.system(f"mount -t tmpfs -o size=300k none {folder} 2>/dev/null"):
            pytest.skip("needs the right to mount")
        yield folder
        os.system(f"umount {folder}")

    def test_keeps_what_was_committed(
        self, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With no warning ahead, the disk fills in the middle of a write."""
        usage = shutil.disk_usage(small_disk)._replace(free=2**40)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        path = small_disk / "run.h5"
        with make(path, planned_rows=16) as recorder:
            steps: list[int] = []
            with pytest.raises(MfsimError, match="make room and continue"):
                append_until_full(recorder, steps)
        run = open_trajectory(path)
        np.testing.assert_array_equal(run.series["spectrum"][:, 1], steps)
        assert len(steps) > 100


class TestRefusals:
    def damaged(self, finished: Path, edit) -> None:
        with h5py.File(finished, "r+") as file:
            edit(file)

    def refuses(self, path: Path, reason: str) -> None:
        with pytest.raises(FormatError, match=reason) as error:
            _ = open_trajectory(path).series
        assert "\n" not in str(error.value)

    def test_other_files(self, path: Path) -> None:
        self.refuses(path, "got no file")
        path.write_text("text")
        self.refuses(path, "is not an mfsim file")
        h5py.File(path, "w").close()
        self.refuses(path, "is not an mfsim file")

    def test_newer_format(self, finished: Path) -> None:
        self.damaged(finished, lambda file: file.attrs.modify("format_version", 2))
        self.refuses(finished, "format version 1 or lower, got 2")

    def test_truncated_file(self, finished: Path) -> None:
        os.truncate(finished, finished.stat().st_size // 2)
        self.refuses(finished, "is not an mfsim file")

    @pytest.mark.parametrize("link", [h5py.SoftLink("/config"), "external"])
    def test_links(self, finished: Path, link) -> None:
        if link == "external":
            link = h5py.ExternalLink(str(finished), "/config")
        self.damaged(finished, lambda file: file.__setitem__("data/secret", link))
        self.refuses(finished, "data/secret itself, got a link")

    def test_external_storage(self, finished: Path, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(8))

        def edit(file: h5py.File) -> None:
            file["data"].create_dataset(
                "secret", (1,), "f8", external=[(str(secret), 0, 8)]
            )

        self.damaged(finished, edit)
        self.refuses(finished, "reference to other files")

    def test_virtual_dataset(self, finished: Path) -> None:
        layout = h5py.VirtualLayout((3, 2), "f8")
        layout[...] = h5py.VirtualSource(str(finished), "data/x_train", (3, 2))
        self.damaged(
            finished, lambda file: file.create_virtual_dataset("data/secret", layout)
        )
        self.refuses(finished, "reference to other files")

    def test_more_than_is_there(self, finished: Path) -> None:
        def edit(file: h5py.File) -> None:
            file["data"].create_dataset("bomb", (2**40,), "f8", chunks=(1024,))

        self.damaged(finished, edit)
        self.refuses(finished, "bytes, of which 0 are there")

    def test_missing_part(self, finished: Path) -> None:
        self.damaged(finished, lambda file: file.__delitem__("series/time"))
        self.refuses(finished, "must hold the dataset time")


class TestSweep:
    def point(self, folder: Path, width: int, index: int, rows: int) -> None:
        place = {
            "dims": ["width", "alpha_index"],
            "index": {"width": [16, 64].index(width), "alpha_index": index},
            "values": {"width": width, "alpha": float(width) ** (index / 2)},
            "coords": {"alpha": ["width", "alpha_index"]},
        }
        recorder = make(folder / f"{width}-{index}.h5", sweep=place)
        for step in range(rows):
            append(recorder, step, train_risk=100.0 * width + 10 * index + step)
        recorder.finish("completed" if rows == 3 else "diverged", {})

    def test_axes_are_dimensions(self, tmp_path: Path) -> None:
        self.point(tmp_path, 16, 0, 3)
        self.point(tmp_path, 16, 1, 3)
        self.point(tmp_path, 64, 0, 1)
        sweep = open_sweep(tmp_path)
        assert sweep["train_risk"].dims == ("width", "alpha_index", "save")
        assert sweep["spectrum"].dims == ("width", "alpha_index", "save", "mode")
        np.testing.assert_array_equal(sweep["width"], [16, 64])
        np.testing.assert_array_equal(sweep["alpha"], [[1.0, 4.0], [1.0, np.nan]])
        np.testing.assert_array_equal(
            sweep["train_risk"].sel(width=16, alpha_index=1), [1610, 1611, 1612]
        )
        np.testing.assert_array_equal(
            sweep["step"].isel(width=1), [[0, np.nan, np.nan], [np.nan] * 3]
        )
        assert sweep["status"].values.tolist() == [
            ["completed", "completed"],
            ["diverged", "missing"],
        ]
        assert sweep["run_id"].values[1].tolist() == ["64-0", ""]
        assert sweep["train_risk"].attrs["symbol"] == "R"

    def test_words_as_values(self, tmp_path: Path) -> None:
        for index, name in enumerate(["Tanh", "Relu"]):
            place = {
                "dims": ["activation"],
                "index": {"activation": index},
                "values": {"activation": name},
            }
            make(tmp_path / f"{name}.h5", sweep=place).finish("completed", {})
        sweep = open_sweep(tmp_path)
        assert sweep["activation"].values.tolist() == ["Tanh", "Relu"]

    def test_refusals(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match="got none"):
            open_sweep(tmp_path)
        self.point(tmp_path, 16, 0, 1)
        shutil.copy(tmp_path / "16-0.h5", tmp_path / "copy.h5")
        with pytest.raises(FormatError, match="another point"):
            open_sweep(tmp_path)
        (tmp_path / "copy.h5").unlink()
        make(tmp_path / "single.h5").finish("completed", {})
        with pytest.raises(FormatError, match="attribute `sweep`"):
            open_sweep(tmp_path)
        place = {"dims": ["time"], "index": {"time": 0}, "values": {"time": 1}}
        make(tmp_path / "single.h5", sweep=place, overwrite=True).close()
        with pytest.raises(FormatError, match=json.dumps(place["dims"])[1:-1]):
            open_sweep(tmp_path)

    def test_table(self, tmp_path: Path) -> None:
        path = tmp_path / "sweep.csv"
        write_sweep_table(path, [{"run_id": "a", "alpha": 0.5}, {"run_id": "b, c"}])
        assert path.read_text().split() == ["run_id,alpha", "a,0.5", '"b,', 'c",']
        assert os.listdir(tmp_path) == ["sweep.csv"]
        with pytest.raises(MfsimError, match="could not be written"):
            write_sweep_table(tmp_path / "none" / "sweep.csv", [])
