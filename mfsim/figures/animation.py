"""A run's snapshots as a film: a density's heat map, or a cloud of neurons."""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, PillowWriter
from matplotlib.figure import Figure

from mfsim.errors import ConfigError, MfsimError
from mfsim.figures import laws
from mfsim.figures.facts import clock_of
from mfsim.figures.saving import put
from mfsim.figures.scenes import cloud_scene, grid_scene
from mfsim.figures.style import styled
from mfsim.storage import Trajectory, open_trajectory

MOST_FRAMES = 200
_DPI = 100


class Film(NamedTuple):
    """A figure, and what turns it to one of its frames."""

    figure: Figure
    turn: Callable[[int], None]
    frames: int


@styled
def save_animation(path: str | Path, out: str | Path) -> Path:
    """Draw the snapshots of a run one after another into a film.

    Args:
        path: The file of a run on a grid, or of one of neurons.
        out: Where the film goes: a GIF, or an MP4, which needs the program ffmpeg.

    Returns:
        Where it is.

    Raises:
        ConfigError: If the suffix is neither, ffmpeg is missing, or the file holds
            fewer than two snapshots.
        FormatError: If the input is not an mfsim file.
        MfsimError: If the film cannot be written.

    Cost: a fifth of a second a frame, of which there are at most 200.
    """
    path, out = Path(path), Path(out)
    make_writer = _writer_for(out)
    if path.is_dir():
        raise ConfigError(
            f"an animation must be of one run, got folder {path}; name a file of it."
        )
    film = film_of(open_trajectory(path))
    # So that a film lasts some eight seconds, wherever that can be followed.
    writer = make_writer(fps=int(np.clip(film.frames // 8, 2, 25)))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"film{out.suffix.lower()}"
        try:
            with writer.saving(film.figure, str(made), _DPI):
                for frame in range(film.frames):
                    film.turn(frame)
                    writer.grab_frame()
        except (subprocess.CalledProcessError, BrokenPipeError) as error:
            raise MfsimError(
                f"ffmpeg must be able to write {out.name}, got {error}; take .gif."
            ) from error
        put(out, made.read_bytes())
    return out


def _writer_for(out: Path) -> Callable[..., AbstractMovieWriter]:
    suffix = out.suffix.lower()
    if suffix == ".gif":
        return PillowWriter
    if suffix != ".mp4":
        raise ConfigError(
            f"an animation must end in one of ['.gif', '.mp4'], got {out.name!r}; "
            "rename it."
        )
    if not FFMpegWriter.isAvailable():
        raise ConfigError(
            f"an animation must end in '.gif' where ffmpeg is missing, got "
            f"{out.name!r}; rename it, or install ffmpeg."
        )
    return FFMpegWriter


@styled
def film_of(run: Trajectory) -> Film:
    """A film of a run's snapshots; of many, 200 evenly spread.

    A deep network is shown by the neurons of its first hidden layer.

    Raises:
        ConfigError: If there are fewer than two, or none of a density or of neurons.
    """
    is_grid = "density" in run.snapshots
    snapshots = laws.density_of(run) if is_grid else laws.cloud_of(run)
    if (count := snapshots.sizes["step"]) < 2:
        raise ConfigError(
            f"an animation must have 2 snapshots or more, got {count} in {run.path}; "
            "set schedule.snapshots and run it to the end."
        )
    times = laws.clock_times(run, snapshots, clock_of(run))
    picked = laws.chosen(times, None, MOST_FRAMES)
    draw = grid_scene if is_grid else cloud_scene
    stage, turn = draw(run, snapshots, list(picked))

    def turn_to(frame: int) -> None:
        turn(picked[frame])
        words = laws.time_words(run, float(times[picked[frame]]))
        stage.above.set_title(words, loc="left", fontsize=11)

    turn_to(0)
    # The first frame's layout is that of all.
    stage.figure.draw_without_rendering()
    stage.figure.set_layout_engine("none")
    return Film(stage.figure, turn_to, len(picked))
