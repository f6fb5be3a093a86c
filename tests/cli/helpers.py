"""The command line as a user calls it, and what its tests ask of the outcome."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from mfsim.errors import FormatError
from mfsim.storage import open_trajectory

# Of the smallest shapes, so that nearly all the time is start-up and compilation.
CONFIG = """
observables = ["Risk", "Displacement"]
[flow]
kind = "ParticleFlow"
temperature = 1e-3
[flow.network]
kind = "TwoLayer"
width = 16
alpha = 2.0
[flow.dataset]
kind = "SphereTeacher"
dim = 3
num_train = 8
num_test = 4
[integrator]
kind = "NoisyGD"
step = 0.01
[schedule]
num_steps = 48
saves = 5
snapshots = 3
"""

PROGRAM = [sys.executable, "-c", "from mfsim.cli import main; main()"]


def write_config(folder: Path, name: str = "a") -> Path:
    """The configuration as a file of a folder."""
    path = folder / f"{name}.toml"
    path.write_text(CONFIG)
    return path


def start(folder: Path, *args: object) -> subprocess.Popen:
    """Mfsim in a process of its own, its working directory `folder`."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, args)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(folder: Path, *args: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of mfsim."""
    process = start(folder, *args)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def stop_when(process: subprocess.Popen, path: Path, rows: int, number: int) -> str:
    """Send a signal once the file has so many rows; what the process then said."""
    deadline = time.monotonic() + 90
    while process.poll() is None and num_rows(path) < rows:
        assert time.monotonic() < deadline, "no rows within 90 s"
        time.sleep(0.01)
    assert process.poll() is None, f"over too early: {process.communicate()}"
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


def num_rows(path: Path) -> int:
    """Committed rows; 0 while there is no file, or of a folder the fewest of any."""
    if path.is_dir():
        return min(map(num_rows, path.glob("*.h5")), default=0)
    with contextlib.suppress(FormatError):
        return open_trajectory(path).series.sizes["step"]
    return 0


def assert_equal_to_the_bit(path: Path, other: Path, rtol: float = 0.0) -> None:
    """Same status, same series, same snapshots; to rounding with an `rtol`."""
    found, wanted = open_trajectory(path), open_trajectory(other)
    assert found.status == wanted.status
    assert set(found.series.variables) == set(wanted.series.variables)
    for name in wanted.series.variables:
        ours, theirs = found.series[name], wanted.series[name]
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
    assert list(found.snapshots) == list(wanted.snapshots)
    for name, snapshot in wanted.snapshots.items():
        ours = found.snapshots[name]
        np.testing.assert_allclose(ours, snapshot, rtol=rtol, atol=rtol)


def leftovers(folder: Path) -> list[str]:
    """Files that only a run under way may have."""
    return [p.name for p in folder.rglob("*") if p.suffix in (".tmp", ".lock")]
