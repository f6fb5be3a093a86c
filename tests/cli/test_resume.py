"""A run that was stopped at any moment goes on as if it never had been."""

import csv
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest

import mfsim
from mfsim.storage import open_trajectory
from tests.cli.helpers import (
    assert_equal_to_the_bit,
    call,
    leftovers,
    num_rows,
    start,
    stop_when,
    write_config,
)

# About two seconds of steps: long beside the polling, short beside the compiler.
LONG = ["--set", "schedule.num_steps=900000", "--set", "schedule.saves=9"]
SWEEP = ["--set", "schedule.num_steps=200000", "--set", "schedule.saves=9"]
SWEEP += ["--set", "sweep.flow.network.alpha=[1.0, 2.0]"]
SWEEP += ["--set", "sweep.seed=[0, 1]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, and its uninterrupted run in `straight`."""
    folder = tmp_path_factory.mktemp("resume")
    write_config(folder)
    code, out, err = call(folder, "run", "a.toml", *LONG, "--out", "straight")
    assert code == 0, err
    assert out == ""
    assert "completed at step 900000/900000" in err
    return folder


@pytest.mark.parametrize("rows", [1, 4])
def test_killed_run_goes_on_to_the_bit(folder: Path, rows: int) -> None:
    """`rows = 1` is a kill before there is any checkpoint."""
    path = folder / f"kill{rows}" / "a.h5"
    command = ["run", "a.toml", *LONG, "--out", path.parent, "--quiet"]
    stop_when(start(folder, *command), path, rows, signal.SIGKILL)
    assert open_trajectory(path).status == "running"
    assert num_rows(path) >= rows
    code, out, err = call(folder, *command, "--resume")
    assert (code, out, err) == (0, "", "")
    assert_equal_to_the_bit(path, folder / "straight" / "a.h5")
    assert leftovers(path.parent) == []


def test_interrupted_run_saves_itself_says_how_to_go_on_and_does(
    folder: Path,
) -> None:
    path = folder / "interrupted" / "a.h5"
    command = ["run", "a.toml", *LONG, "--out", path.parent, "--quiet"]
    process = start(folder, *command)
    err = stop_when(process, path, 2, signal.SIGINT)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "--resume" in err
    assert open_trajectory(path).status == "interrupted"
    assert leftovers(path.parent) == []
    rows = num_rows(path)
    code, _, err = call(folder, *command)
    assert code == 2
    assert "must not exist; pass --resume" in err
    assert num_rows(path) == rows
    code, out, err = call(folder, *command, "--resume")
    assert (code, out, err) == (0, "", "")
    assert_equal_to_the_bit(path, folder / "straight" / "a.h5")


def table(folder: Path) -> list[dict[str, str]]:
    """The lines of sweep.csv."""
    with (folder / "sweep.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.long
def test_sweep_terminated_and_then_killed_goes_on_to_the_bit(folder: Path) -> None:
    straight, path = folder / "whole" / "a", folder / "broken" / "a"
    command = ["run", "a.toml", *SWEEP, "--quiet", "--out"]
    code, _, err = call(folder, *command, "whole")
    assert code == 0, err
    process = start(folder, *command, "broken")
    err = stop_when(process, path, 1, signal.SIGTERM)
    assert process.returncode == 1
    assert "--resume" in err
    assert leftovers(path) == []
    states = {row["status"] for row in table(path)}
    assert states <= {"interrupted", "completed", "waiting"}
    before = num_rows(path)
    process = start(folder, *command, "broken", "--resume")
    if before < 9:
        stop_when(process, path, min(before + 2, 8), signal.SIGKILL)
    process.communicate()
    code, out, err = call(folder, *command, "broken", "--resume")
    assert (code, out, err) == (0, "", "")
    assert leftovers(path) == []
    names = sorted(p.name for p in straight.glob("*.h5"))
    assert len(names) == 4
    assert sorted(p.name for p in path.glob("*.h5")) == names
    for name in names:
        # Points that resume in other groups are multiplied in another order.
        assert_equal_to_the_bit(path / name, straight / name, rtol=1e-4)
    for found, wanted in zip(table(path), table(straight), strict=True):
        assert list(found) == list(wanted)
        assert found["status"] == wanted["status"] == "completed"
        ours, theirs = float(found["train_risk"]), float(wanted["train_risk"])
        assert ours == pytest.approx(theirs, rel=1e-4)
    # A point taken out of the sweep and run alone: nothing depends on who ran with it.
    alone = folder / "alone.toml"
    alone.write_text(open_trajectory(straight / names[0]).config_text)
    found = mfsim.run(mfsim.load(alone), folder / "alone.h5")
    wanted = open_trajectory(straight / names[0])
    assert tomllib.loads(found.config_text) == tomllib.loads(wanted.config_text)
    # Rounding alone: programs for two members and for one may fuse
    # sums differently; a contracting flow keeps that near 1e-7 relative.
    for name in ("train_risk", "displacement"):
        difference = abs(found.series[name] - wanted.series[name])
        assert float(difference.max()) < 1e-3 * float(wanted.series[name].max())


def test_full_disk_ends_the_run_and_loses_nothing(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk takes the right to mount one")
    try:
        command = ["run", "a.toml", *LONG, "--out", disk, "--quiet"]
        process = start(folder, *command)
        while process.poll() is None and num_rows(disk / "a.h5") < 1:
            pass
        # All but a few MiB, less than a change of structure wants to leave free.
        (disk / "filler").write_bytes(bytes(35 * 2**20))
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert len(err.splitlines()) == 1, err
        assert "must have room" in err
        assert leftovers(disk) == []
        assert num_rows(disk / "a.h5") >= 1
        (disk / "filler").unlink()
        code, _, err = call(folder, *command, "--resume")
        assert code == 0, err
        assert_equal_to_the_bit(disk / "a.h5", folder / "straight" / "a.h5")
    finally:
        subprocess.run(["umount", str(disk)], check=False, capture_output=True)
