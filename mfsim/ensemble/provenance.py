"""What a file says of the program that wrote it."""

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path


@functools.cache
def provenance() -> dict[str, str]:
    """Versions and source commit, for the root of every file."""
    versions = {
        f"{name.split('-')[0]}_version": metadata.version(name)
        for name in ("mfsim", "jax", "numpy", "diffrax", "ott-jax", "h5py")
    }
    versions["python_version"] = platform.python_version()
    if commit := _git_commit():
        versions["git_commit"] = commit
    return versions


def _git_commit() -> str | None:
    """The commit of the source tree, if the program runs from a checkout of its own."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
