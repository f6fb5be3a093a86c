"""The image files as a user fetches and verifies them, and configs that read them."""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import mfsim
from mfsim import cli
from mfsim.datasets import Cifar10, MnistIdx, official
from mfsim.datasets.downloads import fetch
from mfsim.datasets.official import SHA256, SOURCES, Source
from mfsim.errors import ConfigError, MfsimError
from tests.cli.helpers import write_config
from tests.unit.test_images import REAL, needs_images, write_cifar, write_mnist

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_folder_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MFSIM_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


CONTENTS = {"first.gz": gzip.compress(bytes(range(256)) * 40), "second.gz": b"small"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


SUMS = {name: sha256(content) for name, content in CONTENTS.items()}


class Server(ThreadingHTTPServer):
    """Files on this machine; what was asked for is in `asked`, with the first byte.

    Attributes:
        contents: Files by name.
        breaks_after: Bytes of a file after which every connection breaks off.
        ranges: Whether a part of a file can be asked for.
    """

    def __init__(self, contents: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents, self.asked = contents, []
        self.breaks_after: int | None = None
        self.ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/files/")
        asked = self.headers.get("Range", "bytes=0-")
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.server.asked.append((name, start))
        content = self.server.contents.get(name)
        if content is None:
            return self.send_error(404)
        if not self.server.ranges:
            start = 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        # As some servers do, whose .gz files must come as they are all the same.
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(content[start : self.server.breaks_after])
        return None

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    both = Server(dict(CONTENTS)), Server(dict(CONTENTS))
    for server in both:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    yield both
    for server in both:
        server.shutdown()
        server.server_close()


def source(*servers: Server | str, **fields) -> Source:
    addresses = tuple(s if isinstance(s, str) else s.address for s in servers)
    return Source(
        **{"name": "a", "folder": "a", "sha256": SUMS, "addresses": addresses} | fields
    )


def assert_fetched(folder: Path) -> None:
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENTS


def test_files_are_fetched_once(servers, tmp_path: Path) -> None:
    official, mirror = servers
    told = []
    where = fetch(
        source(official, mirror), tmp_path, report=lambda *words: told.append(words)
    )
    assert where == tmp_path / "a"
    assert_fetched(where)
    assert official.asked == [("first.gz", 0), ("second.gz", 0)]
    assert told[-1] == ("second.gz", 5, 5)
    fetch(source(official, mirror), tmp_path)
    assert len(official.asked) == 2
    (where / "second.gz").write_bytes(b"damaged")
    fetch(source(official, mirror), tmp_path)
    assert official.asked[2:] == [("second.gz", 0)]
    assert_fetched(where)
    assert mirror.asked == []


def test_download_goes_on_where_it_broke_off(servers, tmp_path: Path) -> None:
    official, _ = servers
    official.breaks_after = 100
    with pytest.raises(MfsimError, match="^first.gz must be had .* repeat the command"):
        fetch(source(official), tmp_path)
    assert (tmp_path / "a" / "first.gz.part").stat().st_size == 100
    official.breaks_after = None
    assert_fetched(fetch(source(official), tmp_path))
    assert official.asked == [("first.gz", 0), ("first.gz", 100), ("second.gz", 0)]


def test_mirror_goes_on_where_the_publisher_broke_off(servers, tmp_path: Path) -> None:
    official, mirror = servers
    official.breaks_after = 100
    assert_fetched(fetch(source(official, mirror), tmp_path))
    assert mirror.asked == [("first.gz", 100)]


def test_server_without_ranges_begins_anew(servers, tmp_path: Path) -> None:
    official, mirror = servers
    official.breaks_after, mirror.ranges = 100, False
    assert_fetched(fetch(source(official, mirror), tmp_path))


def test_mirror_helps_when_the_publisher_is_down_or_has_no_file(
    servers, tmp_path: Path
) -> None:
    official, mirror = servers
    del official.contents["second.gz"]
    down = Server({})
    down.server_close()
    assert_fetched(fetch(source(down, official, mirror), tmp_path))
    assert mirror.asked == [("second.gz", 0)]
    with pytest.raises(MfsimError, match="HTTP status 404") as error:
        fetch(source(down, official), tmp_path / "other")
    assert not isinstance(error.value, ConfigError)
    assert "ConnectionError" in str(error.value)


def test_wrong_content_is_never_kept(servers, tmp_path: Path) -> None:
    official, mirror = servers
    official.contents["first.gz"] = b"something else"
    with pytest.raises(ConfigError, match="^first.gz must be had .* another checksum"):
        fetch(source(official), tmp_path)
    assert list((tmp_path / "a").iterdir()) == []
    assert_fetched(fetch(source(official, mirror), tmp_path))
    assert mirror.asked == [("first.gz", 0)]


@pytest.mark.parametrize("size", [1, 10**6])
def test_part_of_another_file_does_not_last(servers, tmp_path: Path, size: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "first.gz.part").write_bytes(b"?" * size)
    assert_fetched(fetch(source(servers[0]), tmp_path))


def test_part_that_is_whole_is_taken(servers, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "first.gz.part").write_bytes(CONTENTS["first.gz"])
    assert_fetched(fetch(source(servers[0]), tmp_path))
    assert servers[0].asked[0] == ("first.gz", len(CONTENTS["first.gz"]))


def archive() -> bytes:
    """The files in a folder, among members that would lie or point elsewhere."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        link = tarfile.TarInfo("b/first.gz")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        others = {"../evil": b"evil", "/evil": b"evil", "b/readme.html": b"hello"}
        placed = {f"../../b/{name}": content for name, content in CONTENTS.items()}
        for name, content in (others | placed).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def test_archive_is_unpacked_within_the_folder(servers, tmp_path: Path) -> None:
    official, _ = servers
    official.contents["a.tar.gz"] = content = archive()
    official.breaks_after = 50
    packed = source(official, archive=("a.tar.gz", sha256(content)))
    with pytest.raises(MfsimError):
        fetch(packed, tmp_path / "in")
    official.breaks_after = None
    assert_fetched(fetch(packed, tmp_path / "in"))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["a"]
    fetch(packed, tmp_path / "in")
    assert official.asked == [("a.tar.gz", 0), ("a.tar.gz", 50)]
    (tmp_path / "in" / "a" / "second.gz").unlink()
    (tmp_path / "in" / "a.tar.gz").write_bytes(content)
    assert_fetched(fetch(packed, tmp_path / "in"))
    assert len(official.asked) == 2


def test_sources_are_what_the_datasets_read(tmp_path: Path) -> None:
    for name, kind in (("mnist", MnistIdx), ("cifar10", Cifar10)):
        place = tmp_path / SOURCES[name].folder
        place.mkdir()
        for file in SOURCES[name].sha256:
            (place / file).touch()
        assert {path.name for path in kind(tmp_path).files()} == set(
            SOURCES[name].sha256
        )
    assert {len(digest) for digest in SHA256.values()} == {64}


@pytest.fixture
def say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> Say:
    """Exit code, standard output and standard error of `mfsim`, in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mfsim", *map(str, words)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        return int(ending.value.code or 0), *capfd.readouterr()

    return call


def assert_one_line(said: tuple[int, str, str], code: int, message: str) -> None:
    assert said[:2] == (code, "")
    assert said[2].startswith("mfsim: ")
    assert said[2].count("\n") == 1, said[2]
    assert message in said[2]


def test_get_prints_the_folder_and_says_how_it_is_found(
    servers, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(official.SOURCES, "mnist", source(servers[0]))
    code, out, err = say("data", "get", "mnist")
    assert (code, out) == (0, f"{tmp_path / 'datasets' / 'a'}\n")
    assert_fetched(tmp_path / "datasets" / "a")
    assert "first.gz" in err
    assert f"MFSIM_DATA={tmp_path / 'datasets'}" in err
    monkeypatch.setenv("MFSIM_DATA", str(tmp_path / "mine"))
    mirror = f"{servers[1].address}/"
    out = f"{tmp_path / 'mine' / 'a'}\n"
    words = "data", "get", "mnist", "--from", mirror, "--quiet"
    assert say(*words) == (0, out, "")
    assert_fetched(tmp_path / "mine" / "a")
    out = f"{tmp_path / 'other' / 'a'}\n"
    assert say(*words, "--to", "other") == (0, out, "")
    told = say("data", "get", "mnist", "--from", mirror, "--to", "other")[2]
    assert f"MFSIM_DATA={tmp_path / 'other'}" in told
    assert (len(servers[0].asked), len(servers[1].asked)) == (2, 4)


def test_get_that_fails_is_one_line(servers, say: Say, tmp_path: Path) -> None:
    server, _ = servers
    words = "data", "get", "cifar10", "--quiet", "--from"
    said = say(*words, server.address)
    assert_one_line(said, 1, "cifar-10-python.tar.gz: HTTP status 404; repeat the co")
    server.contents["cifar-10-python.tar.gz"] = archive()
    said = say(*words, server.address)
    assert_one_line(said, 2, "cifar-10-python.tar.gz must be had with SHA-256 6d958be0")
    assert_one_line(say(*words, "ftp://a"), 2, "--from must begin with http:// or")
    (tmp_path / "file").touch()
    said = say(*words, server.address, "--to", "file")
    assert_one_line(said, 2, "--to must be a folder, got the file")
    assert say("data", "get", "svhn")[0] == 2


@needs_images
@pytest.mark.slow
def test_get_of_the_published_files(servers, say: Say, tmp_path: Path) -> None:
    files = MnistIdx(REAL).files()
    if files[0].suffix != ".gz":
        pytest.skip("needs MNIST as published, gzipped")
    servers[0].contents = {path.name: path.read_bytes() for path in files}
    servers[0].breaks_after = 10**6
    words = "data", "get", "mnist", "--quiet", "--to", "in", "--from"
    assert_one_line(say(*words, servers[0].address), 1, "train-images-idx3-ubyte.gz")
    servers[0].breaks_after = None
    out = f"{tmp_path / 'in' / 'mnist'}\n"
    assert say(*words, servers[0].address) == (0, out, "")
    assert servers[0].asked[1] == ("train-images-idx3-ubyte.gz", 10**6)
    code, out, err = say("data", "verify", "in")
    assert (code, out.count("whole"), err) == (0, 4, "")


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the files of a folder be the published ones."""
    sums = {p.name.replace(".idx", "-idx"): p for p in folder.rglob("*") if p.is_file()}
    for name, path in sums.items():
        monkeypatch.setitem(official.SHA256, name, sha256(path.read_bytes()))


def test_verify_says_of_each_file_what_it_is(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "data" / "mnist", dot=".", suffix="")
    write_cifar(tmp_path / "data", "python 2")
    publish(monkeypatch, tmp_path / "data")
    code, out, err = say("data", "verify", "data")
    assert (code, err) == (0, "")
    lines = [line.partition(": whole, ")[2] for line in out.splitlines()]
    mnist = ["40 images of 2x3", "40 labels", "20 images of 2x3", "20 labels"]
    assert lines == mnist + 6 * ["20 images of 32x32x3"]


DAMAGE = {
    "data_batch_2": (lambda b: b[:-9], "data_batch_2 must be a whole pickle"),
    "data_batch_5": (lambda b: b + b"?", "data_batch_5 must have SHA-256"),
    "test_batch": (lambda b: b"\x80\x02cos\nsystem\n.", "names 'os.system'"),
    "train-images-idx3-ubyte.gz": (lambda b: b[:90], "ubyte.gz must be a whole file"),
    "train-labels-idx1-ubyte.gz": (lambda b: b[:4] + b"?" + b[5:], "have SHA-256"),
    "t10k-labels-idx1-ubyte.gz": (None, "labels-idx1-ubyte: missing"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_verify_of_a_damaged_file_is_refused(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_mnist(tmp_path)
    write_cifar(tmp_path, "python 2")
    publish(monkeypatch, tmp_path)
    damage, message = DAMAGE[name]
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    code, out, err = say("data", "verify", ".")
    assert code == 2
    assert out.count("\n") == 10
    assert out.count("whole, ") == 9
    assert message in out
    assert_one_line((code, "", err), 2, message)
    assert "wrong are 1 of 10 files" in err


def test_verify_of_no_images_is_refused(say: Say, tmp_path: Path) -> None:
    said = say("data", "verify", ".")
    assert_one_line(said, 2, "FOLDER must hold the files of mnist or cifar10, got '.'")
    said = say("data", "verify", "none")
    assert_one_line(said, 2, "FOLDER must be an existing folder, got 'none'")


def set_dataset(text: str) -> list[str]:
    return ["--set", f"flow.dataset={{{text}}}", "--set", "observables=['Risk']"]


REFUSED = [
    ("kind='MnistIdx'", "folder must be given, or the environment variable MFSIM_DATA"),
    ("kind='MnistIdx', folder='none'", "folder must be an existing folder, got '/"),
    ("kind='MnistIdx', folder='cifar'", "folder must hold the mnist files"),
    ("kind='Cifar10', folder='.'", "folder must hold the cifar10 files"),
    ("kind='MnistIdx', folder='half'", "train-images-idx3-ubyte.gz must be a whole"),
    ("kind='Cifar10', folder='cifar'", "got one that names 'os.system'"),
    ("kind='Cifar10', classes=['cat', 'dgo']", "classes must be two different ones"),
    ("kind='MnistIdx', folder='mnist', classes=[3, 8], num_train=1", "num_train must"),
    ("kind='MnistIdx', folder='mnist', num_train=50", "num_train must be at most 40"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_check_of_bad_images_is_one_line(
    say: Say, tmp_path: Path, text: str, message: str
) -> None:
    path = write_mnist(tmp_path / "half") / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:50])
    write_mnist(tmp_path / "mnist")
    write_cifar(tmp_path / "cifar", "python 3")
    (tmp_path / "cifar" / "test_batch").write_bytes(b"\x80\x02cos\nsystem\n.")
    said = say("check", write_config(tmp_path), *set_dataset(text))
    assert_one_line(said, 2, "flow.dataset.")
    assert message in said[2]


def test_config_that_a_run_keeps_names_the_folder_that_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "data" / "mnist")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MFSIM_DATA", "data")
    images = {"kind": "MnistIdx", "classes": [3, 8], "num_train": 6}
    experiment = mfsim.load(write_config(tmp_path), {"flow.dataset": images})
    (tmp_path / "again.toml").write_text(experiment.to_toml())
    monkeypatch.delenv("MFSIM_DATA")
    again = mfsim.load(tmp_path / "again.toml")
    assert again == experiment
    assert again.flow.dataset.folder == tmp_path / "data"
    assert again.flow.dataset.load().x_train.shape == (6, 6)


def test_help_imports_nothing_that_fetches() -> None:
    program = "import sys, mfsim.cli; print(*sys.modules)"
    words = [sys.executable, "-c", program]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "mfsim.cli.data" in found.split()
    assert not {"pooch", "requests", "numpy", "jax", "rich"} & set(found.split())
