"""A writer killed at any moment leaves a file that everything opens, rows intact."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from mfsim.storage import Recorder, open_trajectory

NUM_KILLS = 20

# Says on standard output which step it has committed, row, snapshot and checkpoint.
WRITER = """
import sys
import numpy as np
from mfsim.storage import Recorder, Series

series = {f"s{i}": Series("1", f"s_{i}", "a number") for i in range(8)}
recorder = Recorder.create(
    sys.argv[1], attributes={"config_hash": "abc"}, config="", series=series,
    absent={}, data={}, planned_rows=64, planned_snapshots=4,
)
for step in range(100_000):
    recorder.append(step, step / 2, step * 2, {name: step for name in series})
    if step % 16 == 0:
        recorder.snapshot(step, 0.0, {"particles/neurons": np.full((9, 4), step)})
    if step % 8 == 0:
        recorder.save_checkpoint(step, [np.full(2000, step), np.array(step)])
    recorder.commit()
    print(step, flush=True)
"""


def committed_before_kill(path: Path, seconds: float) -> int:
    """Let a writer run, kill it `seconds` after its first row; its last whole step."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    first = writer.stdout.readline()
    assert first, "the writer failed"
    time.sleep(seconds)
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read()
    writer.wait(timeout=10)
    writer.stdout.close()
    # A line that the kill cut short has no newline.
    whole = (first + rest).rpartition("\n")[0].split("\n")
    return int(whole[-1])


@pytest.mark.parametrize("kill", range(NUM_KILLS))
def test_killed_writer_loses_nothing(tmp_path: Path, kill: int) -> None:
    path = tmp_path / "run.h5"
    last = committed_before_kill(path, random.Random(kill).uniform(0.0, 0.3))
    run = open_trajectory(path)
    steps = run.series["step"].values
    assert len(steps) > last
    np.testing.assert_array_equal(steps, np.arange(len(steps)))
    for name in run.series.data_vars:
        np.testing.assert_array_equal(run.series[name], steps)
    neurons = run.snapshots["neurons"]
    assert neurons["step"][-1] >= 16 * (last // 16)
    np.testing.assert_array_equal(neurons[:, 8, 3], neurons["step"])
    with h5py.File(path) as file:
        assert file.attrs["status"] == "running"
        assert len(file["series/s7"]) > last
    with xarray.open_dataset(path, group="series", engine="h5netcdf") as found:
        np.testing.assert_array_equal(found["s0"][: last + 1], np.arange(last + 1))
    with Recorder.resume(path, config_hash="abc") as recorder:
        assert recorder.checkpoint is not None
        step, leaves = recorder.checkpoint
        assert step >= 8 * (last // 8)
        assert (leaves[0] == step).all()
        assert leaves[1] == step
    assert sorted(os.listdir(tmp_path)) == ["run.h5"]


def test_file_is_readable_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    try:
        seen = []
        for _ in range(50):
            with h5py.File(path) as file:
                seen.append(len(file["series/step"]))
            run = open_trajectory(path)
            np.testing.assert_array_equal(run.series["s7"], run.series["step"])
            with xarray.open_dataset(path, group="series", engine="h5netcdf") as found:
                assert found.sizes["step"] >= seen[-1]
        assert writer.poll() is None
        assert seen == sorted(seen)
        assert seen[-1] > seen[0]
    finally:
        writer.kill()
        writer.wait(timeout=10)
        writer.stdout.close()
