"""The image data sets: their files, read and refused."""

import gzip
import os
import pickle
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfsim.component import build, describe
from mfsim.config import load_table
from mfsim.datasets import AbstractDataset, Cifar10, MnistIdx, Prepare, RandomLabels
from mfsim.datasets.pickled import read_pickle
from mfsim.datasets.verification import examine
from mfsim.errors import ConfigError

REAL = os.environ.get("MFSIM_DATA")
needs_images = pytest.mark.skipif(not REAL, reason="needs the folder MFSIM_DATA")

CLASSES = [
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_folder_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MFSIM_DATA", raising=False)


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes; 2051 is 0x00000803, 2049 is 0x00000801."""
    head = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


# Image i of a part has i as its first pixel, so that rows tell where they come from.
TRAIN = np.arange(40) % 10
TEST = np.arange(20)[::-1] % 10


def digits(labels: np.ndarray) -> np.ndarray:
    images = np.zeros((len(labels), 2, 3))
    images[:, 0, 0] = np.arange(len(labels))
    images[:, 1, 2] = 200 + labels
    return images


def write_mnist(folder: Path, dot: str = "-", suffix: str = ".gz", **other) -> Path:
    """Four small files as MNIST's; `other` are contents by the start of the name."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "train-images": idx(digits(TRAIN)),
        "train-labels": idx(TRAIN),
        "t10k-images": idx(digits(TEST)),
        "t10k-labels": idx(TEST),
    }
    for stem, content in (contents | other).items():
        kind = "idx3" if stem.endswith("images") else "idx1"
        pack = gzip.compress if suffix else bytes
        (folder / f"{stem}{dot}{kind}-ubyte{suffix}").write_bytes(pack(content))
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
def test_pixels_and_digits_of_idx_files(
    tmp_path: Path, dot: str, suffix: str, place: str
) -> None:
    write_mnist(tmp_path / place, dot, suffix)
    data = MnistIdx(tmp_path).load()
    for labels, x, y in ((TRAIN, *data[:2]), (TEST, *data[2:])):
        rows = np.rint(255 * x[:, 0]).astype(int)
        assert sorted(rows) == list(range(len(labels)))
        np.testing.assert_array_equal(y, (labels[rows] - 4.5) / 4.5)
        wanted = np.zeros((len(labels), 6))
        wanted[:, 0], wanted[:, 5] = rows / 255, (200 + labels[rows]) / 255
        np.testing.assert_array_equal(x, wanted)


@pytest.mark.parametrize("classes", [(3, 8), (8, 3)])
def test_two_digits_are_minus_one_and_one_in_their_order(
    tmp_path: Path, classes: tuple[int, int]
) -> None:
    data = MnistIdx(write_mnist(tmp_path), classes=classes).load()
    for x, y, num in ((*data[:2], 4), (*data[2:], 2)):
        digit = np.rint(255 * x[:, 5]).astype(int) - 200
        np.testing.assert_array_equal(y, np.where(digit == classes[0], -1.0, 1.0))
        assert (np.sum(y == -1), np.sum(y == 1)) == (num, num)


@pytest.mark.parametrize("classes", [None, (8, 3)])
def test_digits_may_keep_their_numbers(
    tmp_path: Path, classes: tuple[int, int] | None
) -> None:
    folder = write_mnist(tmp_path)
    data = MnistIdx(folder, classes=classes, labels="classes").load()
    scaled = MnistIdx(folder, classes=classes).load()
    for x, y, same in ((*data[:2], scaled.x_train), (*data[2:], scaled.x_test)):
        digit = np.rint(255 * x[:, 5]).astype(int) - 200
        # Of two digits the place among them.
        np.testing.assert_array_equal(y, digit == 3 if classes else digit)
        np.testing.assert_array_equal(x, same)
        assert y.dtype == np.float64


@given(
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
)
def test_fewer_images_are_the_first_of_more(sizes, seed) -> None:
    few, many = sorted(sizes)
    with tempfile.TemporaryDirectory() as name:
        folder = write_mnist(Path(name))
        small = MnistIdx(folder, num_train=few, num_test=0, seed=seed).load()
        large = MnistIdx(folder, num_train=many, num_test=few // 2, seed=seed).load()
    assert len(small.x_train) == few
    assert len(np.unique(large.x_train[:, 0])) == many
    np.testing.assert_array_equal(small.x_train, large.x_train[:few])
    np.testing.assert_array_equal(small.y_train, large.y_train[:few])
    assert (len(small.x_test), len(large.x_test)) == (0, few // 2)


def test_each_part_is_drawn_with_the_seed_from_its_own_stream(tmp_path: Path) -> None:
    folder = write_mnist(
        tmp_path, **{"t10k-images": idx(digits(TRAIN)), "t10k-labels": idx(TRAIN)}
    )
    zero, one = (MnistIdx(folder, seed=seed).load() for seed in (0, 1))
    assert not np.array_equal(zero.x_train, one.x_train)
    assert not np.array_equal(zero.x_test, one.x_test)
    assert not np.array_equal(zero.x_train, zero.x_test)


def test_images_are_prepared_and_may_have_random_labels(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    images = MnistIdx(folder, prepare=Prepare(unit_norm=True, bias=True))
    x = images.load().x_train
    np.testing.assert_allclose((x[:, :-1] ** 2).sum(axis=1), 1, rtol=1e-14)
    random = RandomLabels(images)
    np.testing.assert_array_equal(random.load().x_train, x)
    assert [path.name[:8] for path in random.files()] == [
        "train-im", "train-la", "t10k-ima", "t10k-lab"
    ]  # fmt: skip


# CIFAR-10: the colours of image i are all i, but for the first of each plane.
def photographs(labels: np.ndarray) -> np.ndarray:
    pixels = np.repeat(np.arange(len(labels))[:, None], 3072, axis=1).astype(np.uint8)
    pixels[:, [0, 1024, 2048]] = 251, 252, 253
    return pixels


def as_binary(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    return np.column_stack([labels.astype(np.uint8), pixels]).tobytes()


def as_python_2(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """The batch as Python 2 and its NumPy pickled it, written by hand."""
    text = lambda s: b"U" + bytes([len(s)]) + s  # noqa: E731
    number = lambda i: b"J" + struct.pack("<i", i)  # noqa: E731
    raw = pixels.tobytes()
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    array += text(b"b") + b"\x87R(K\x01" + number(len(pixels)) + number(3072) + b"\x86"
    array += dtype + b"\x89" + b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
    numbers = b"](" + b"".join(map(number, labels.tolist())) + b"e"
    entries = text(b"labels") + numbers + text(b"data") + array
    return b"\x80\x02}(" + entries + text(b"batch_label") + text(b"one of 5") + b"u."


def as_python_3(protocol: int, order: str, pixels: np.ndarray, labels: np.ndarray):
    batch = {"data": np.asarray(pixels, order=order), "labels": labels.tolist()}
    return pickle.dumps(batch, protocol)


VERSIONS = {
    "binary": as_binary,
    "python 2": as_python_2,
    "python 3": lambda *batch: as_python_3(4, "C", *batch),
    "by columns": lambda *batch: as_python_3(4, "F", *batch),
    "bytes as text": lambda *batch: as_python_3(2, "C", *batch),
}


def write_cifar(folder: Path, version: str, labels: np.ndarray = TEST) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = VERSIONS[version](photographs(labels), labels)
    suffix = ".bin" if version == "binary" else ""
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / f"{name}{suffix}").write_bytes(content)
    return folder


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", [".", "cifar-10-batches-py", "cifar10"])
def test_pixels_and_classes_of_batches(
    tmp_path: Path, version: str, place: str
) -> None:
    write_cifar(tmp_path / place, version)
    data = Cifar10(tmp_path).load()
    assert data.x_train.shape == (100, 3072)
    for x, y in (data[:2], data[2:]):
        rows = np.rint(255 * x[:, 1]).astype(int)
        np.testing.assert_array_equal(np.bincount(rows), np.full(20, len(x) // 20))
        np.testing.assert_array_equal(x, photographs(TEST)[rows] / 255)
        np.testing.assert_array_equal(y, (TEST[rows] - 4.5) / 4.5)
    two = Cifar10(tmp_path, classes=("ship", "cat"), num_train=9, num_test=3).load()
    rows = np.rint(255 * two.x_train[:, 1]).astype(int)
    np.testing.assert_array_equal(two.y_train, np.where(TEST[rows] == 8, -1.0, 1.0))
    assert set(TEST[rows]) == {CLASSES.index("ship"), CLASSES.index("cat")}
    assert (len(two.y_train), len(two.y_test)) == (9, 3)


def test_photographs_may_keep_the_numbers_of_their_classes(tmp_path: Path) -> None:
    write_cifar(tmp_path, "binary")
    data = Cifar10(tmp_path, labels="classes").load()
    for x, y in (data[:2], data[2:]):
        np.testing.assert_array_equal(y, TEST[np.rint(255 * x[:, 1]).astype(int)])
    two = Cifar10(tmp_path, classes=("ship", "cat"), labels="classes").load()
    rows = np.rint(255 * two.x_train[:, 1]).astype(int)
    np.testing.assert_array_equal(two.y_train, TEST[rows] == CLASSES.index("cat"))


class _Calls:
    """Pickles as the call of a function."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def named(module: str, name: str) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode()


def by_hand(array: bytes) -> bytes:
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x01K\x02eu."


_MAKE = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
_U1 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
MALICIOUS = {
    "a call": lambda mark: pickle.dumps({"data": _Calls(os.mkdir, (mark,))}),
    "an eval": lambda mark: pickle.dumps(_Calls(eval, (f"open({mark!r}, 'w')",))),
    "a dotted name": lambda _: b"\x80\x04\x8c\x05numpy\x8c\x0bcore.memmap\x93.",
    "another of numpy's": lambda _: named("numpy.core.multiarray", "scalar") + b".",
    "an instance": lambda _: b"(inumpy\nload\n.",
    "a state for a name": lambda _: (
        named("numpy", "dtype") + b"N}U\x09__class__K\x01s\x86b."
    ),
    "an extension": lambda _: b"\x80\x02\x82\x01.",
    "a persistent name": lambda _: b"Pname\n.",
    "objects": lambda _: pickle.dumps(
        {"data": np.array([[1, None]]), "labels": [1]}, 4
    ),
    "reals": lambda _: pickle.dumps({"data": np.ones((2, 3072)), "labels": [1, 2]}, 4),
    "a vector": lambda _: pickle.dumps(
        {"data": np.ones(3072, np.uint8), "labels": [1]}, 4
    ),
    "no array": lambda _: pickle.dumps({"data": [1, 2], "labels": [1, 2]}, 4),
    "an empty stand-in": lambda _: by_hand(_MAKE),
    "more than its bytes": lambda _: by_hand(
        _MAKE + b"(K\x01J\xff\xff\xff\x7fM\x00\x0c\x86" + _U1 + b"\x89U\x01atb"
    ),
    "less than nothing": lambda _: by_hand(
        _MAKE + b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + _U1 + b"\x89U\x01atb"
    ),
    "rows of any length": lambda _: by_hand(
        _MAKE + b"(K\x01K\x00\x8a\x09" + bytes(8) + b"\x40\x86" + _U1 + b"\x89U\x00tb"
    ),
    "a huge string": lambda _: b"\x80\x04\x8e" + b"\xff" * 7 + b"\x3f.",
    "a list": lambda _: pickle.dumps([1, 2]),
    "nothing": lambda _: b"",
    "no labels": lambda _: pickle.dumps({"data": photographs(TEST)}, 4),
    "labels of text": lambda _: pickle.dumps(
        {"data": photographs(TEST[:2]), "labels": ["cat", "dog"]}, 4
    ),
    "a class beyond": lambda _: pickle.dumps(
        {"data": photographs(TEST[:2]), "labels": [1, 10**30]}, 4
    ),
    "no image": lambda _: pickle.dumps(
        {"data": photographs(TEST[:0]), "labels": []}, 4
    ),
    "few labels": lambda _: pickle.dumps({"data": photographs(TEST), "labels": [1]}, 4),
    "narrow images": lambda _: pickle.dumps(
        {"data": photographs(TEST)[:, 1:], "labels": TEST.tolist()}, 4
    ),
    "half of one": lambda _: as_python_2(photographs(TEST), TEST)[:30000],
}  # fmt: skip


@pytest.mark.parametrize("content", MALICIOUS)
def test_pickle_of_anything_else_is_refused_and_runs_nothing(
    tmp_path: Path, content: str
) -> None:
    folder, mark = write_cifar(tmp_path, "python 3"), tmp_path / "mark"
    (folder / "data_batch_3").write_bytes(MALICIOUS[content](str(mark)))
    with pytest.raises(ConfigError, match="^folder '.*': data_batch_3 must ") as error:
        Cifar10(folder).load()
    assert "\n" not in str(error.value)
    assert not mark.exists()


def test_malicious_pickle_would_run_elsewhere(tmp_path: Path) -> None:
    pickle.loads(MALICIOUS["a call"](str(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_name_that_is_refused_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(MALICIOUS["an eval"]("b"))
    with pytest.raises(ConfigError, match=r"^a must be .* names 'builtins\.eval'"):
        read_pickle(tmp_path / "a")


@pytest.mark.parametrize("version", ["binary", "python 2", "python 3"])
@given(data=st.data())
def test_damaged_batch_is_refused_or_read(version: str, data) -> None:
    content = bytearray(VERSIONS[version](photographs(TEST[:2]), TEST[:2]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, min(len(content), 300) - 1))
        content[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as name:
        folder = write_cifar(Path(name), version)
        suffix = ".bin" if version == "binary" else ""
        (folder / f"data_batch_2{suffix}").write_bytes(content)
        try:
            loaded, message = Cifar10(folder).load(), "folder "
        except ConfigError as error:
            loaded, message = None, str(error)
    assert message.startswith("folder ")
    assert "\n" not in message
    assert loaded is None or loaded.x_train.shape[1] == 3072


BAD_IDX = [
    ({"train-images": b""}, "train-images-idx3-ubyte must be a whole IDX file, got 0"),
    ({"t10k-labels": b"\0\0\x08\x01"}, "t10k-labels-idx1-ubyte must be a whole IDX fi"),
    ({"train-images": idx(TRAIN)}, "must begin with the magic number 2051 .* got 2049"),
    ({"train-labels": idx(digits(TRAIN))}, "the magic number 2049 .* got 2051"),
    ({"train-images": idx(digits(TRAIN))[:-1]}, "240 bytes .* 40x2x3, got 239"),
    ({"train-labels": idx(TRAIN) + b"\1"}, "must have 40 bytes .* got 41"),
    (
        {"train-images": struct.pack(">4I", 2051, *[2**32 - 1] * 3)},
        f"must have {(2**32 - 1) ** 3} bytes",
    ),
    ({"train-labels": idx(TRAIN[1:])}, "must have 40 labels, .* got 39"),
    ({"t10k-labels": idx(TEST + 1)}, "must have labels from 0 to 9, got 10"),
    ({"t10k-images": idx(digits(TEST)[:0]), "t10k-labels": idx(TEST[:0])}, "one image"),
]


@pytest.mark.parametrize(("other", "message"), BAD_IDX)
def test_wrong_idx_file_is_refused(tmp_path: Path, other: dict, message: str) -> None:
    folder = write_mnist(tmp_path, suffix="", **other)
    with pytest.raises(ConfigError, match=f"^folder '.*': .*{message}"):
        MnistIdx(folder).load()


@pytest.mark.parametrize("kept", [0, 1, 12, 40, -8, -1])
def test_truncated_gzip_is_refused(tmp_path: Path, kept: int) -> None:
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ConfigError, match="^folder '.*': train-images-idx3-ubyte.gz m"):
        MnistIdx(tmp_path).load()


@pytest.mark.parametrize("byte", [3, 20, -6])
def test_damaged_gzip_is_refused(tmp_path: Path, byte: int) -> None:
    path = write_mnist(tmp_path) / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[byte] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="^folder '.*': t10k-labels-idx1-ubyte.gz m"):
        MnistIdx(tmp_path).load()


def test_test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path, **{"t10k-images": idx(digits(TEST)[:, :1])})
    with pytest.raises(ConfigError, match="^x_test must have 6 columns"):
        MnistIdx(tmp_path).load()


def test_images_that_are_not_there_are_refused(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path, **{"train-labels": idx(TRAIN % 8)})
    refused = [
        ({"classes": (3, 8), "num_train": 1}, "num_train must draw images of both "),
        (
            {"classes": (3, 9)},
            "num_train must draw images of both classes, got 4 ",
        ),
        (
            {"classes": (8, 9)},
            "num_train must draw images of both classes, got 0 ",
        ),
        (
            {"classes": (2, 3), "num_train": 9},
            "num_train must be at most 8, the tra",
        ),
        ({"num_train": 41}, "num_train must be at most 40, the train images of these"),
        ({"num_test": 21}, "num_test must be at most 20, the test images of these cla"),
    ]
    for fields, message in refused:
        with pytest.raises(ConfigError, match=f"^{message}"):
            MnistIdx(folder, **fields).load()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"classes": ["cat", "dgo"]},
            rf"two different ones of \['{CLASSES[0]}'.*dgo",
        ),
        ({"classes": ["cat", "cat"]}, r"two different ones of .* got \['cat', 'cat'\]"),
        ({"classes": ["cat"]}, "a list of 2"),
        ({"classes": [3, 5]}, "a string, got 3"),
        ({"kind": "MnistIdx", "classes": [3, 3]}, "two different digits from 0 to 9"),
        ({"kind": "MnistIdx", "classes": [3, 10]}, "two different digits from 0 to 9"),
    ],
)
def test_wrong_classes_are_refused(config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.classes\S* must be {message}"):
        build(AbstractDataset, {"kind": "Cifar10"} | config, "data")


def test_missing_files_are_refused_with_the_way_to_get_them(tmp_path: Path) -> None:
    get = "`mfsim data get cifar10`"
    with pytest.raises(ConfigError, match=f"^folder must be given, or the .*{get}"):
        Cifar10().load()
    with pytest.raises(ConfigError, match=f"^folder must be an existing .*{get}"):
        Cifar10(tmp_path / "none").load()
    with pytest.raises(ConfigError, match=f"^folder must hold the cifar10 .*{get}"):
        Cifar10(write_mnist(tmp_path)).load()
    write_cifar(tmp_path, "binary")
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(ConfigError, match=f"^folder .* data_batch_4 is not in.*{get}"):
        Cifar10(tmp_path).files()


def test_folder_is_the_environments_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "data" / "mnist")
    write_cifar(tmp_path / "data" / "cifar10", "binary")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MFSIM_DATA", "data")
    for dataset in (MnistIdx(), Cifar10()):
        assert describe(dataset)["folder"] == str(tmp_path / "data")
        assert len(dataset.load().x_test) == 20
        assert dataset.files()[0].parent.parent == tmp_path / "data"
    found = MnistIdx()
    monkeypatch.setenv("MFSIM_DATA", str(tmp_path / "elsewhere"))
    assert build(AbstractDataset, describe(found)) == found
    assert MnistIdx("data").folder == Path("data")
    monkeypatch.setenv("MFSIM_DATA", "")
    assert MnistIdx().folder is None
    assert build(AbstractDataset, describe(MnistIdx())) == MnistIdx()


def test_folder_of_a_config_is_relative_to_it(tmp_path: Path) -> None:
    flow = {
        "kind": "ParticleFlow",
        "network": {"kind": "TwoLayer", "width": 8},
        "dataset": {"kind": "RandomLabels", "dataset": {"kind": "MnistIdx"}},
    }
    table = {
        "flow": flow,
        "integrator": {"kind": "NoisyGD", "step": 0.1},
        "schedule": {"num_steps": 1},
    }
    lines = {"flow.dataset.dataset.folder": "../images"}
    dataset = load_table(table, tmp_path / "configs", lines).flow.dataset.dataset
    assert dataset.folder == tmp_path.resolve() / "images"


@needs_images
@pytest.mark.slow
def test_published_mnist() -> None:
    data = MnistIdx(REAL).load()
    assert (data.x_train.shape, data.x_test.shape) == ((60000, 784), (10000, 784))
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.unique(data.y_train, return_counts=True)[1].tolist() == counts
    # Mean and standard deviation as everybody quotes them, to four digits.
    assert abs(data.x_train.mean() - 0.1307) < 5e-5
    assert abs(data.x_train.std() - 0.3081) < 5e-5


@needs_images
@pytest.mark.slow
def test_published_cifar10() -> None:
    data = Cifar10(REAL, num_train=20000, num_test=500).load()
    assert (data.x_train.shape, data.x_test.shape) == ((20000, 3072), (500, 3072))
    # The quoted means of red, green, blue; a channel's mean varies by about 0.13 over
    # images, so that 20,000 of 50,000 are within five standard errors of 7e-4.
    means = data.x_train.reshape(-1, 3, 1024).mean(axis=(0, 2))
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=3.6e-3)
    two = Cifar10(REAL, classes=("cat", "dog")).load()
    assert np.unique(two.y_train, return_counts=True)[1].tolist() == [5000, 5000]
    assert np.unique(two.y_test, return_counts=True)[1].tolist() == [1000, 1000]


@needs_images
@pytest.mark.slow
def test_published_files_are_verified() -> None:
    findings = list(examine(Path(str(REAL))))
    assert len(findings) in (4, 6, 10)
    assert {finding.fault for finding in findings} == {""}
    assert {finding.content for finding in findings} <= {
        "60000 images of 28x28",
        "60000 labels",
        "10000 images of 28x28",
        "10000 labels",
        "10000 images of 32x32x3",
    }


def test_fingerprint_is_by_content_wherever_the_images_are(tmp_path: Path) -> None:
    table = {
        "flow": {
            "kind": "ParticleFlow",
            "network": {"kind": "TwoLayer", "width": 8},
            "dataset": {"kind": "MnistIdx"},
        },
        "integrator": {"kind": "NoisyGD", "step": 0.1},
        "schedule": {"num_steps": 1},
    }

    def fingerprint(folder: str) -> str:
        lines = {"flow.dataset.folder": folder}
        return load_table(table, tmp_path, lines).fingerprint()

    write_mnist(tmp_path / "one")
    write_mnist(tmp_path / "two" / "mnist")
    write_mnist(tmp_path / "three", **{"t10k-labels": idx(9 - TEST)})
    assert fingerprint("one") == fingerprint("two") == fingerprint("two/mnist")
    assert fingerprint("three") != fingerprint("one")
    with pytest.raises(ConfigError, match=r"^flow\.dataset\.folder must be an exist"):
        fingerprint("none")
