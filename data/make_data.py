"""Makes the files of this folder, byte for byte: `python data/make_data.py [FOLDER]`.

Nothing is drawn at random and coordinates are rounded, so that neither the version of
numpy nor the machine shows in the bytes.
"""

import csv
import hashlib
import io
import math
import sys
import zipfile
from pathlib import Path

import numpy as np

GOLDEN = (math.sqrt(5) - 1) / 2


def luo_points() -> list[tuple[float, ...]]:
    """The four points (x, x^2) of Luo et al. 2021: x = linspace(-1/2, 1/2, 4)."""
    return [(float(x), float(x * x)) for x in np.linspace(-0.5, 0.5, 4)]


def plane_points() -> list[tuple[float, ...]]:
    """Three points (x1, x2, y) of the unit disc, no two of them nearly parallel."""
    return [(0.8, 0.3, 0.7), (-0.5, 0.7, -0.6), (-0.2, -0.9, 0.4)]


def two_classes() -> dict[str, np.ndarray]:
    """Two interleaved half moons in the unit disc: 40 points to train, 20 to test."""
    points = np.array([_moon_point(i) for i in range(60)])
    held_out = np.arange(60) % 6 >= 4
    train, test = points[~held_out], points[held_out]
    return {
        "x_train": train[:, :2],
        "y_train": train[:, 2],
        "x_test": test[:, :2],
        "y_test": test[:, 2],
    }


def _moon_point(i: int) -> tuple[float, float, float]:
    label = 1.0 if i % 2 == 0 else -1.0
    angle = math.pi * (i // 2 + 0.5) / 30
    radius = 1 + 0.3 * ((i * GOLDEN) % 1 - 0.5)
    x1 = label * (radius * math.cos(angle) - 0.5)
    x2 = label * (radius * math.sin(angle) - 0.25)
    return round(0.6 * x1, 3), round(0.6 * x2, 3), label


def csv_bytes(header: list[str], rows: list[tuple[float, ...]]) -> bytes:
    """A comma-separated table; numbers as Python writes them, to read back equal."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """An archive as numpy.savez writes it, but for the time of day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array, dtype="<f8"))
            archive.writestr(info, content.getvalue())
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    """Every file by its name, the checksums last."""
    files = {
        "luo_points.csv": csv_bytes(["x", "y"], luo_points()),
        "plane_points.csv": csv_bytes(["x1", "x2", "y"], plane_points()),
        "two_classes.npz": npz_bytes(two_classes()),
    }
    sums = [f"{hashlib.sha256(b).hexdigest()}  {name}\n" for name, b in files.items()]
    return files | {"SHA256SUMS": "".join(sums).encode()}


def make(folder: Path) -> None:
    """Write the files into a folder that exists."""
    for name, content in contents().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
