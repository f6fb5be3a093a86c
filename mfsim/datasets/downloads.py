"""Fetching the published files: checksums, mirrors, and downloads that go on."""

import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pooch
import requests
from urllib3.exceptions import HTTPError

from mfsim.datasets.official import Source
from mfsim.errors import ConfigError, MfsimError

Report = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are here, and all its bytes if known."""

_TIMEOUT = 30.0
_CHUNK_BYTES = 2**16


def fetch(
    source: Source,
    folder: Path,
    *,
    addresses: Sequence[str] | None = None,
    report: Report = lambda name, done, total: None,
) -> Path:
    """Have every file of a data set under a folder; what is there whole stays.

    Args:
        source: The data set.
        folder: Its subfolder of the data set's name is made and filled. What has come
            of a file is kept in a `.part` beside it, where the next call goes on.
        addresses: Tried in this order; those of the data set unless given.
        report: Who listens.

    Returns:
        The folder of the files.

    Raises:
        ConfigError: If an address has a file of another checksum and none helps.
        MfsimError: If no address answers to the end.
    """
    pooch.get_logger().setLevel("WARNING")
    addresses = source.addresses if addresses is None else addresses
    target = (folder / source.folder).absolute()
    if source.archive is None:
        for name, sha256 in source.sha256.items():
            _fetch_file(name, sha256, addresses, target, report)
    elif not all(_is_whole(target / n, s) for n, s in source.sha256.items()):
        archive = _fetch_file(*source.archive, addresses, target.parent, report)
        _unpack(archive, set(source.sha256), target)
        archive.unlink()
    return target


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and pooch.file_hash(str(path)) == sha256


def _fetch_file(
    name: str, sha256: str, addresses: Sequence[str], folder: Path, report: Report
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.part"
    # Pooch's own type of it names the arguments otherwise than pooch calls it.
    download: Any = _Download(part, lambda done, total: report(name, done, total))
    failures, is_wrong = [], False
    # A part of another file cannot be gone on with: then each is asked once more.
    for address in [*addresses, *addresses] if part.exists() else addresses:
        url = f"{address.rstrip('/')}/{name}"
        try:
            pooch.retrieve(url, f"sha256:{sha256}", name, folder, downloader=download)
            return folder / name
        except (OSError, HTTPError) as error:
            failures.append(f"{url}: {_reason(error)}")
        except ValueError:
            failures.append(f"{url}: another checksum")
            is_wrong = True
    raise (ConfigError if is_wrong else MfsimError)(
        f"{name} must be had with SHA-256 {sha256[:12]}..., got from "
        f"{'; '.join(dict.fromkeys(failures))}; repeat the command to go on where it "
        "stopped, or name another mirror."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    return getattr(error, "strerror", None) or type(error).__name__


class _Download:
    """Pooch's downloader that goes on where an earlier one broke off.

    Attributes:
        part: The file that keeps what has come.
        report: Called with the bytes that are here, and all if known.
    """

    def __init__(self, part: Path, report: Callable[[int, int | None], None]):
        self.part, self.report = part, report

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        done = self.part.stat().st_size if self.part.exists() else 0
        # As the file is: a server may call the .gz itself an encoding to be undone.
        headers = {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with requests.get(
            url, headers=headers, stream=True, timeout=_TIMEOUT
        ) as response:
            # 416: there is nothing beyond what is here; the checksum will tell.
            if response.status_code != 416:
                response.raise_for_status()
                self._append(response, done if response.status_code == 206 else 0)
        os.replace(self.part, output_file)

    def _append(self, response: requests.Response, done: int) -> None:
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with self.part.open("r+b" if done else "wb") as file:
            file.seek(done)
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                done += len(chunk)
                self.report(done, total)
        if total is not None and done < total:
            raise ConnectionError(0, f"broke off after {done} of {total} bytes")


def _unpack(archive: Path, names: set[str], target: Path) -> None:
    """The files of these names; their folders in the archive do not count."""
    target.mkdir(exist_ok=True)
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or name not in names:
                continue
            part = target / f"{name}.part"
            with content, part.open("wb") as file:
                shutil.copyfileobj(content, file)
            os.replace(part, target / name)
