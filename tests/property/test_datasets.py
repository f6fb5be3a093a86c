"""What holds of datasets whatever their sizes, seeds and bytes."""

import io
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mfsim.component import build, describe
from mfsim.datasets import (
    AbstractDataset,
    ArrayFile,
    Data,
    Digits,
    GaussianTeacher,
    Parity,
    Prepare,
    RandomLabels,
    SphereTeacher,
    TwoClassSphere,
)
from mfsim.errors import ConfigError

seeds = st.integers(0, 2**32 - 1)
sizes = {
    "dim": st.integers(2, 12),
    "num_train": st.integers(3, 12),
    "num_test": st.integers(0, 5),
    "seed": seeds,
}
unit = st.floats(0, 1)
positive = st.floats(1e-3, 5)
prepares = st.builds(
    Prepare,
    unit_norm=st.booleans(),
    bias=st.booleans(),
    pca=st.none() | st.integers(1, 2),
    subset=st.none() | st.just(3),
)
drawn = st.one_of(
    st.builds(
        SphereTeacher,
        **sizes,
        teacher=st.sampled_from(["network", "single_index"]),
        teacher_activation=st.sampled_from(
            ["Erf", "Identity", "Relu", "Square", "Tanh"]
        ),
        teacher_width=st.integers(1, 4),
        gain=positive,
        noise_std=unit,
        sign=st.booleans(),
        prepare=prepares,
    ),
    st.builds(
        GaussianTeacher,
        **sizes,
        epsilon=unit,
        input_shift=positive,
        output_shift=positive,
        input_std=positive,
        output_std=positive,
        activation=st.sampled_from(["Erf", "Tanh"]),
        prepare=prepares,
    ),
    st.builds(Parity, **sizes, order=st.integers(1, 2)),
    st.builds(TwoClassSphere, **sizes, margin=st.floats(0, 0.9), prepare=prepares),
)
datasets = drawn | st.builds(RandomLabels, drawn, seed=seeds)


@given(datasets)
def test_loads_sound_arrays_again_and_again_from_its_description(dataset):
    data = dataset.load()
    again = build(AbstractDataset, describe(dataset)).load()
    for a, b in zip(data, again, strict=True):
        assert a.dtype == np.float64
        assert np.all(np.isfinite(a))
        assert np.array_equal(a, b)
    assert data.x_train.shape == (len(data.y_train), data.x_test.shape[1])


@given(drawn, st.integers(0, 9))
def test_training_set_does_not_depend_on_the_test_set(dataset, num_test):
    other = build(AbstractDataset, describe(dataset) | {"num_test": num_test})
    for a, b in zip(dataset.load()[:2], other.load()[:2], strict=True):
        assert np.array_equal(a, b)


@given(
    epsilon=st.floats(1e-4, 1), input_shift=positive, output_shift=st.floats(1e-3, 20)
)
def test_kl_is_within_its_bounds(epsilon, input_shift, output_shift):
    teacher = GaussianTeacher(
        dim=2,
        num_train=1,
        epsilon=epsilon,
        input_shift=input_shift,
        output_shift=output_shift,
    )
    # Jensen: KL <= log(1 + chi^2); convexity: KL <= epsilon rho^2/2; 1e-14 is quad's.
    assert -1e-14 <= teacher.kl() <= epsilon * teacher.rho() ** 2 / 2 + 1e-14
    assert teacher.kl() <= np.log1p(teacher.chi2()) + 1e-14


@settings(deadline=None)
@given(seed=seeds, num_train=st.integers(1, 1348), num_test=st.integers(0, 449))
def test_digits_never_hold_a_training_image_out(seed, num_train, num_test):
    data = Digits(seed=seed, num_train=num_train, num_test=num_test).load()
    train, test = ({row.tobytes() for row in x} for x in (data.x_train, data.x_test))
    assert (len(train), len(test)) == (num_train, num_test)
    assert not train & test


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(arrays(float, (4, 3), elements=finite), seeds)
def test_unit_norm_of_any_finite_inputs(x, seed):
    data = Data(x, np.zeros(4), x[:2], np.zeros(2))
    if not np.all(x.any(axis=1)):
        with pytest.raises(
            ConfigError, match="prepare.unit_norm must have inputs other"
        ):
            Prepare(unit_norm=True).apply(data, seed)
        return
    got = Prepare(unit_norm=True).apply(data, seed)
    np.testing.assert_allclose(np.linalg.norm(got.x_train, axis=1), 1, rtol=1e-14)
    assert np.array_equal(got.x_test, got.x_train[:2])
    # Points keep their direction: the entries of a row keep their ratios.
    assert np.all(np.sign(got.x_train) * np.sign(x) >= 0)


@given(
    arrays(float, (8, 3), elements=st.integers(-9, 9).map(float)),
    st.integers(1, 3),
    seeds,
)
def test_pca_keeps_no_more_than_there_is(x, rank, seed):
    data = Data(x, np.zeros(8), x[:0], np.zeros(0))
    if np.all(x == x[0]):
        with pytest.raises(
            ConfigError, match="prepare.pca must have inputs that differ"
        ):
            Prepare(pca=rank).apply(data, seed)
        return
    got = Prepare(pca=rank).apply(data, seed).x_train
    total = np.var(x, axis=0).sum()
    kept = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1][:rank]
    np.testing.assert_allclose(got.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(np.var(got, axis=0), kept, atol=1e-12 * total)


@given(
    arrays(float, (7, 2), elements=finite), st.integers(1, 7), st.integers(1, 7), seeds
)
def test_subsets_are_nested(x, one, two, seed):
    data = Data(x, np.arange(7.0), x[:0], np.zeros(0))
    small, large = (
        set(Prepare(subset=n).apply(data, seed).y_train) for n in sorted((one, two))
    )
    assert small <= large


def load_bytes(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        path.write_bytes(content)
        return ArrayFile(path).load()


tables = st.integers(1, 3).flatmap(lambda d: arrays(float, (4, d + 1), elements=finite))


@given(tables)
def test_numbers_survive_a_csv_file(table):
    names = [f"x{i}" for i in range(table.shape[1] - 1)] + ["y"]
    text = "\n".join(
        [",".join(names)] + [",".join(map(repr, r)) for r in table.tolist()]
    )
    data = load_bytes(text.encode(), ".csv")
    assert np.array_equal(np.column_stack([data.x_train, data.y_train]), table)


def sound_bytes(suffix):
    content = io.BytesIO()
    table = {"x_train": np.eye(3), "y_train": np.arange(3.0)}
    if suffix == ".npz":
        np.savez(content, **table)
    elif suffix == ".h5":
        with h5py.File(content, "w") as file:
            for name, array in table.items():
                file[name] = array
    else:
        content.write(b"a,b,y\n1,0,0\n0,1,1\n0,0,2\n")
    return content.getvalue()


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".h5"])
@settings(deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(suffix, data):
    content = bytearray(sound_bytes(suffix))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        loaded, message = load_bytes(bytes(content), suffix), "path "
    except ConfigError as error:
        loaded, message = None, str(error)
    assert message.startswith("path ")
    assert "\n" not in message
    assert loaded is None or len(loaded.x_train) == len(loaded.y_train)
