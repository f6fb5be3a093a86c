"""Where the files of an image data set are, on this machine."""

import os
from pathlib import Path
from typing import NamedTuple

from mfsim.errors import ConfigError

VARIABLE = "MFSIM_DATA"


class Layout(NamedTuple):
    """What the files of a data set are called, and in which folders they may be.

    Attributes:
        name: The data set in the words of `mfsim data get`.
        places: Subfolders of the folder that is named, the folder itself as "."; the
            first that holds a file of the data set counts.
        files: For each file the names that it may have, the first that is there counts.
    """

    name: str
    places: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]

    def search(self, folder: Path) -> tuple[Path, tuple[Path | None, ...]]:
        """The place that holds the data set, and its files; None for a missing one."""
        for place in self.places:
            found = tuple(_first(folder / place, names) for names in self.files)
            if any(found):
                return folder / place, found
        return folder, (None,) * len(self.files)

    def find(self, folder: Path | None) -> tuple[Path, ...]:
        """The files of the data set.

        Raises:
            ConfigError: If one of them is missing, or no folder is named.
        """
        get = f"run `mfsim data get {self.name}`"
        if folder is None:
            raise ConfigError(
                f"folder must be given, or the environment variable {VARIABLE}, got "
                f"neither; name the folder of the image files, or {get}."
            )
        if not folder.is_dir():
            raise ConfigError(
                f"folder must be an existing folder, got {str(folder)!r}; "
                f"set folder or {VARIABLE}, or {get}."
            )
        place, files = self.search(folder)
        if not any(files):
            raise ConfigError(
                f"folder must hold the {self.name} files, such as {self.files[0][0]}, "
                f"got {str(folder)!r}; set folder or {VARIABLE}, or {get}."
            )
        for names, file in zip(self.files, files, strict=True):
            if file is None:
                raise ConfigError(
                    f"folder must hold all the {self.name} files, but {names[0]} is "
                    f"not in {str(place)!r}; {get} for a whole copy."
                )
        return tuple(file for file in files if file)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    paths = (folder / name for name in names)
    return next((path for path in paths if path.is_file()), None)


def named_folder(folder: str | Path | None) -> Path | None:
    """The folder that is given, or else, absolute, that of the environment, or None.

    It is the converter of the field `folder`, so that a component, and with it the file
    of a run, names the folder that it was made for.
    """
    if folder is not None:
        return Path(folder)
    value = os.environ.get(VARIABLE)
    return Path(value).expanduser().absolute() if value else None
