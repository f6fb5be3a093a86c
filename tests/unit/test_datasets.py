"""Datasets against known numbers, and what they refuse."""

import hashlib
import math
import runpy
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from sklearn.datasets import load_digits

from mfsim.component import build, describe, kinds
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
    stream,
)
from mfsim.datasets.arrays import check
from mfsim.errors import ConfigError

DATA = Path(__file__).parents[2] / "data"

ONE_OF_EACH = [
    ArrayFile(DATA / "two_classes.npz", seed=3),
    Digits(classes=(3, 8), num_train=50, num_test=20),
    GaussianTeacher(dim=4, num_train=6, num_test=5, epsilon=0.3),
    Parity(dim=7, num_train=6, num_test=5, order=3),
    RandomLabels(Parity(dim=7, num_train=6, num_test=5), seed=2),
    SphereTeacher(dim=4, num_train=6, num_test=5, noise_std=0.1),
    TwoClassSphere(dim=4, num_train=6, num_test=5),
]
DRAWN = [d for d in ONE_OF_EACH if type(d) not in (ArrayFile, RandomLabels)]


def named(dataset):
    return type(dataset).__name__


def equal(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def replaced(dataset, **fields):
    return build(AbstractDataset, describe(dataset) | fields)


def test_every_kind_is_tested_here():
    shipped = {
        k for k, c in kinds(AbstractDataset).items() if c.__module__[:5] == "mfsim"
    }
    of_images = {"Cifar10", "MnistIdx"}  # In test_images.
    assert {named(d) for d in ONE_OF_EACH} | of_images == shipped


@pytest.mark.parametrize("dataset", ONE_OF_EACH, ids=named)
def test_kind_loads_the_same_float64_arrays_each_time(dataset):
    data = dataset.load()
    assert equal(data, dataset.load())
    assert all(a.dtype == np.float64 and a.flags.c_contiguous for a in data)
    assert data.x_train.shape[0] == data.y_train.shape[0] > 0
    assert data.x_test.shape == (len(data.y_test), data.x_train.shape[1])


@pytest.mark.parametrize("dataset", ONE_OF_EACH, ids=named)
def test_kind_is_its_own_configuration(dataset):
    assert build(AbstractDataset, describe(dataset)) == dataset


@pytest.mark.parametrize("dataset", ONE_OF_EACH, ids=named)
def test_kind_is_prepared(dataset):
    data = replaced(dataset, prepare={"bias": True, "subset": 4}).load()
    assert data.x_train.shape == (4, dataset.load().x_train.shape[1] + 1)
    assert np.all(data.x_train[:, -1] == 1)
    assert np.all(data.x_test[:, -1] == 1)


@pytest.mark.parametrize("dataset", DRAWN, ids=named)
def test_number_of_test_points_leaves_the_training_set(dataset):
    data, without = dataset.load(), replaced(dataset, num_test=0).load()
    assert equal(data[:2], without[:2])
    assert without.x_test.shape == (0, data.x_train.shape[1])


@pytest.mark.parametrize("dataset", DRAWN, ids=named)
def test_training_points_are_the_first_of_a_larger_set(dataset):
    few, many = dataset.load(), replaced(dataset, num_train=60).load()
    assert np.array_equal(few.x_train, many.x_train[: len(few.x_train)])
    assert equal(few[2:], many[2:])


@pytest.mark.parametrize("dataset", DRAWN, ids=named)
def test_seed_draws_other_points(dataset):
    other = replaced(dataset, seed=7).load()
    assert not np.array_equal(dataset.load().x_train, other.x_train)
    assert not np.array_equal(dataset.load().x_test, other.x_test)


@pytest.mark.parametrize("dataset", ONE_OF_EACH, ids=named)
def test_training_and_test_points_are_drawn_apart(dataset):
    data = dataset.load()
    num = len(data.y_test)
    assert not np.array_equal(data.x_train[:num], data.x_test)


def test_subset_is_drawn_from_the_seed_of_the_dataset():
    path, prepare = DATA / "two_classes.npz", Prepare(subset=10)
    one, two = (ArrayFile(path, seed=s, prepare=prepare).load() for s in (0, 1))
    assert not np.array_equal(one.x_train, two.x_train)


def test_streams_differ_by_name_and_seed():
    draws = {stream(s, n).random() for s in (0, 1) for n in ("teacher", "noise")}
    assert len(draws) == 4


class _Constant(AbstractDataset):
    """A dataset as a user writes it."""

    rows: int = 3
    seed: int = 0
    prepare: Prepare = Prepare()

    def raw(self):
        x = np.full((self.rows, 2), 3)
        return Data(x, np.arange(3), x[:0], np.empty(0))


def test_dataset_of_ones_own_is_checked_and_prepared():
    data = _Constant(prepare=Prepare(unit_norm=True)).load()
    np.testing.assert_allclose(data.x_train, 1 / math.sqrt(2), rtol=1e-15)
    assert data.y_train.dtype == np.float64
    with pytest.raises(ConfigError, match="^y_train must have 4 labels"):
        _Constant(rows=4).load()


def test_files_are_the_paths_among_the_fields():
    path = DATA / "luo_points.csv"
    assert ArrayFile(path).files() == (path,)
    assert RandomLabels(ArrayFile(str(path))).files() == (path,)
    assert Digits().files() == ()


SOUND = Data(np.ones((3, 2)), np.ones(3), np.ones((1, 2)), np.ones(1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"x_train": np.ones(3)},
            r"x_train must have shape \(n, d\), one input a row, ",
        ),
        (
            {"y_train": np.ones((3, 2))},
            r"y_train must have shape \(n,\), one label a row",
        ),
        ({"x_train": np.ones((0, 2))}, r"x_train must have a row and a column, got"),
        ({"x_train": np.ones((3, 0))}, r"x_train must have a row and a column, got"),
        (
            {"y_train": np.ones(2)},
            "y_train must have 3 labels, one for each row of x_tra",
        ),
        (
            {"y_test": np.ones(2)},
            "y_test must have 1 labels, one for each row of x_test",
        ),
        (
            {"x_test": np.ones((1, 3))},
            "x_test must have 2 columns as x_train has, got 3",
        ),
        (
            {"x_train": np.array([["a", "b"]])},
            "x_train must hold real numbers, got dtype",
        ),
        (
            {"y_train": np.ones(3) * 1j},
            "y_train must hold real numbers, got dtype compl",
        ),
        (
            {"y_train": np.array([0, np.nan, 0])},
            "y_train must be finite, got nan in row 1",
        ),
        (
            {"x_test": np.array([[0, np.inf]])},
            "x_test must be finite, got inf in row 0",
        ),
    ],
)
def test_unsound_arrays_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        check(SOUND._replace(**wrong))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"kind": "Digits", "classes": [3, 3]},
            "data.classes must be two different digi",
        ),
        (
            {"kind": "Digits", "classes": [3, 10]},
            "data.classes must be two different dig",
        ),
        ({"kind": "Digits", "classes": [1]}, "data.classes must be a list of 2, got"),
        (
            {"kind": "Digits", "num_test": -1},
            "data.num_test must be at least 0, got -1",
        ),
        (
            {"kind": "ArrayFile", "path": "a.txt"},
            r"data.path must end in one of \['.npz'",
        ),
        ({"kind": "ArrayFile"}, "data.path is required"),
        ({"kind": "RandomLabels"}, "data.dataset is required"),
        (
            {"kind": "Parity", "dim": 2, "num_train": 9, "order": 3},
            "data.order must be at",
        ),
        (
            {"kind": "TwoClassSphere", "dim": 1, "num_train": 9},
            "data.dim must be at least",
        ),
        (
            {"kind": "TwoClassSphere", "dim": 2, "num_train": 9, "margin": 1.0},
            "data.margin must be below 1, got 1.0",
        ),
        (
            {"kind": "TwoClassSphere", "dim": 2000, "num_train": 9, "margin": 0.9},
            "data.margin must leave some of the sphere in dim = 2000",
        ),
        (
            {"kind": "SphereTeacher", "dim": 2, "num_train": 9, "teacher": "deep"},
            r"data.teacher must be one of \['network', 'single_index'\], got 'deep'",
        ),
        (
            {"kind": "GaussianTeacher", "dim": 2, "num_train": 9, "epsilon": 1.5},
            "data.epsilon must be at most 1.0, got 1.5",
        ),
        (
            {"kind": "Digits", "prepare": {"pca": 0}},
            "data.prepare.pca must be at least 1, got 0",
        ),
        (
            {"kind": "Digits", "prepare": {"whiten": True}},
            "data.prepare.whiten is not a field of Prepare",
        ),
    ],
)
def test_wrong_fields_are_refused(config, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        build(AbstractDataset, config, "data")


@pytest.fixture
def cloud():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((30, 4)) * [1.0, 5.0, 2.0, 0.5] + [3.0, 0.0, -1.0, 7.0]
    return Data(x[:20], np.arange(20.0), x[20:], np.arange(10.0))


def test_nothing_is_prepared_unless_asked_for(cloud):
    assert equal(Prepare().apply(cloud, 0), cloud)


def test_pca_is_the_eigenbasis_of_the_training_covariance(cloud):
    got = Prepare(pca=3).apply(cloud, 0)
    mean = cloud.x_train.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(cloud.x_train.T))
    directions = vectors[:, :0:-1]
    directions = directions * np.sign(directions[abs(directions).argmax(0), range(3)])
    np.testing.assert_allclose(
        got.x_train, (cloud.x_train - mean) @ directions, atol=1e-12
    )
    np.testing.assert_allclose(
        got.x_test, (cloud.x_test - mean) @ directions, atol=1e-12
    )
    assert np.all(np.diff(got.x_train.var(axis=0)) < 0)


def test_pca_does_not_see_the_test_set(cloud):
    blind = Prepare(pca=2).apply(cloud._replace(x_test=cloud.x_test[:0]), 0)
    assert np.array_equal(blind.x_train, Prepare(pca=2).apply(cloud, 0).x_train)


def test_steps_run_in_the_documented_order(cloud):
    got = Prepare(subset=12, pca=2, unit_norm=True, bias=True).apply(cloud, 5)
    data = Prepare(subset=12).apply(cloud, 5)
    data = Prepare(pca=2).apply(data, 5)
    data = Prepare(unit_norm=True).apply(data, 5)
    assert equal(got, Prepare(bias=True).apply(data, 5))
    np.testing.assert_allclose(
        np.linalg.norm(got.x_train, axis=1), math.sqrt(2), rtol=1e-15
    )


def test_subset_keeps_pairs_in_order_and_grows_by_adding(cloud):
    small, large = (Prepare(subset=n).apply(cloud, 0) for n in (5, 15))
    rows = small.y_train.astype(int)
    assert np.all(np.diff(rows) > 0)
    assert np.array_equal(small.x_train, cloud.x_train[rows])
    assert set(small.y_train) < set(large.y_train)
    assert equal(small[2:], cloud[2:])
    assert set(Prepare(subset=5).apply(cloud, 1).y_train) != set(small.y_train)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (
            Prepare(subset=21),
            "prepare.subset must be at most 20, the number of training",
        ),
        (
            Prepare(pca=5),
            r"prepare.pca must be at most 4 \(inputs of dimension 4, 20 tra",
        ),
        (
            Prepare(subset=3, pca=3),
            r"prepare.pca must be at most 2 \(inputs of dimension",
        ),
    ],
)
def test_too_much_is_refused(cloud, prepare, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        prepare.apply(cloud, 0)


@pytest.mark.parametrize("name", ["x_train", "x_test"])
def test_zero_input_cannot_have_unit_norm(cloud, name):
    getattr(cloud, name)[7] = 0
    message = f"^prepare.unit_norm must have inputs other than zero, got {name} row 7"
    with pytest.raises(ConfigError, match=message):
        Prepare(unit_norm=True).apply(cloud, 0)


def test_one_repeated_input_has_no_principal_directions():
    with pytest.raises(ConfigError, match="^prepare.pca must have inputs that differ"):
        _Constant(prepare=Prepare(pca=1)).load()


def test_sphere_inputs_are_uniform():
    dim, num = 6, 20000
    x = SphereTeacher(dim=dim, num_train=num).load().x_train
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-14)
    # Var x_i^2 = 2(d - 1)/(d^2 (d + 2)), Var x_i x_j = 1/(d (d + 2)); five sigma.
    second = x.T @ x / num
    on = math.sqrt(2 * (dim - 1) / (dim**2 * (dim + 2)) / num)
    off = math.sqrt(1 / (dim * (dim + 2)) / num)
    tolerance = 5 * np.where(np.eye(dim) == 1, on, off)
    assert np.all(abs(second - np.eye(dim) / dim) < tolerance)
    assert np.all(abs(x.mean(axis=0)) < 5 / math.sqrt(dim * num))


def test_default_teacher_is_three_relu_neurons():
    dataset = SphereTeacher(dim=5, num_train=8)
    data, (v, a) = dataset.load(), dataset.neurons()
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), np.ones(3), rtol=1e-14)
    assert set(a) <= {-1.0, 1.0}
    by_hand = [sum(a[j] * max(v[j] @ x, 0) for j in range(3)) for x in data.x_train]
    np.testing.assert_allclose(data.y_train, by_hand, atol=1e-15)


@pytest.mark.parametrize(
    ("activation", "h"),
    [
        ("Tanh", math.tanh),
        ("Erf", math.erf),
        ("Square", lambda z: z * z),
        ("Identity", lambda z: z),
    ],
)
def test_single_index_teacher(activation, h):
    dataset = SphereTeacher(
        dim=5,
        num_train=8,
        teacher="single_index",
        teacher_activation=activation,
        gain=2.0,
    )
    data, v = dataset.load(), dataset.neurons()[0][0]
    by_hand = [h(2.0 * float(v @ x)) for x in data.x_train]
    np.testing.assert_allclose(data.y_train, by_hand, atol=1e-15)


def test_noise_is_on_the_training_labels_alone():
    clean = SphereTeacher(dim=3, num_train=10000)
    noisy = replaced(clean, noise_std=0.5).load()
    noise = noisy.y_train - clean.load().y_train
    # The variance of s^2 is 2 sigma^4/n; five sigma.
    assert abs(noise.var() - 0.25) < 5 * 0.25 * math.sqrt(2 / 10000)
    assert np.array_equal(noisy.y_test, clean.load().y_test)


def test_signs_of_the_teacher():
    dataset = SphereTeacher(dim=3, num_train=50, sign=True, teacher_activation="Tanh")
    data, real = dataset.load(), replaced(dataset, sign=False).load()
    assert np.array_equal(data.y_train, np.sign(real.y_train))
    assert set(data.y_test) == {-1.0, 1.0}


def sample_p_true(teacher, num, rng):
    mu = np.append(teacher.input_mean(), teacher.output_shift)
    std = np.append(np.full(teacher.dim, teacher.input_std), teacher.output_std)
    shifted = rng.random(num) < teacher.epsilon
    return std * rng.standard_normal((num, len(mu))) + np.outer(shifted, mu)


TEACHER = GaussianTeacher(
    dim=2,
    num_train=4,
    epsilon=0.3,
    input_shift=1.5,
    output_shift=0.8,
    input_std=0.7,
    output_std=1.2,
)


@pytest.mark.parametrize("activation", ["Erf", "Tanh"])
def test_labels_are_means_over_sampled_neurons(activation):
    teacher = replaced(TEACHER, activation=activation)
    data = teacher.load()
    theta = sample_p_true(teacher, 400_000, np.random.default_rng(2))
    h = math.erf if activation == "Erf" else math.tanh
    for x, y in zip(data.x_train, data.y_train, strict=True):
        outputs = theta[:, -1] * np.vectorize(h)(theta[:, :-1] @ x)
        assert abs(outputs.mean() - y) < 5 * outputs.std() / math.sqrt(len(outputs))


@pytest.mark.parametrize("activation", ["Erf", "Tanh"])
@pytest.mark.parametrize("input_std", [0.1, 1.0, 30.0])
def test_labels_are_gaussian_integrals(activation, input_std):
    teacher = replaced(TEACHER, activation=activation, input_std=input_std)
    h = math.erf if activation == "Erf" else math.tanh
    data = teacher.load()
    for x, y in zip(data.x_train, data.y_train, strict=True):
        law = stats.norm(float(x @ teacher.input_mean()), input_std)
        marks = [0.0, -10 * input_std, 10 * input_std]
        moment = quad(
            lambda z, law=law: h(z) * law.pdf(z),
            -40 * input_std,
            40 * input_std,
            points=marks,
            limit=400,
        )[0]
        assert y == pytest.approx(0.3 * 0.8 * moment, abs=2e-8)


def test_divergences_of_the_shifted_start():
    teacher = replaced(TEACHER, epsilon=1.0)
    rho2 = (1.5 / 0.7) ** 2 + (0.8 / 1.2) ** 2
    assert teacher.kl() == pytest.approx(rho2 / 2, rel=1e-14)
    assert teacher.chi2() == pytest.approx(math.exp(rho2) - 1, rel=1e-12)
    near = replaced(TEACHER, epsilon=1 - 1e-12)
    assert near.kl() == pytest.approx(rho2 / 2, rel=1e-9)


def test_divergences_of_the_mixture_by_sampling():
    num = 400_000
    theta = sample_p_true(TEACHER, num, np.random.default_rng(3))
    lam = [0.7**2, 0.7**2, 1.2**2]
    mu = np.append(TEACHER.input_mean(), 0.8)
    start = stats.multivariate_normal(np.zeros(3), lam).logpdf(theta)
    shift = stats.multivariate_normal(mu, lam).logpdf(theta)
    log_ratio = np.log(0.7 + 0.3 * np.exp(shift - start))
    error = log_ratio.std() / math.sqrt(num)
    assert abs(log_ratio.mean() - TEACHER.kl()) < 5 * error
    assert error < 0.01 * TEACHER.kl()
    by_formula = 0.3**2 * math.expm1(TEACHER.rho() ** 2)
    assert TEACHER.chi2() == pytest.approx(by_formula, rel=1e-12)


def test_divergences_at_the_ends():
    none = replaced(TEACHER, epsilon=0.0)
    assert none.kl() == none.chi2() == 0
    assert np.all(none.load().y_train == 0)
    # A small weight: KL tends to chi^2/2, with a relative error of order epsilon.
    faint = replaced(TEACHER, epsilon=1e-5, input_shift=0.1, output_shift=0.1)
    assert faint.kl() == pytest.approx(faint.chi2() / 2, rel=1e-4)
    # A far shift: two laws apart, KL = eps (log eps + rho^2/2) + (1-eps) log(1-eps).
    far = replaced(TEACHER, epsilon=0.25, input_shift=700.0, output_std=1.0)
    apart = 0.25 * (math.log(0.25) + far.rho() ** 2 / 2) + 0.75 * math.log(0.75)
    assert far.kl() == pytest.approx(apart, rel=1e-9)
    assert far.chi2() == math.inf


def test_parity_by_brute_force():
    data = Parity(dim=9, num_train=40, order=3).load()
    for x, y in zip(data.x_train, data.y_train, strict=True):
        negatives = sum(entry < 0 for entry in x[:3])
        assert y == (-1) ** negatives
    assert np.all(abs(data.x_train) == 1 / math.sqrt(9))


@pytest.mark.parametrize("dim", [2, 3, 50])
@pytest.mark.parametrize("margin", [0.0, 0.2, 0.9])
def test_classes_are_apart_on_the_sphere(dim, margin):
    dataset = TwoClassSphere(dim=dim, num_train=60, num_test=40, margin=margin)
    data, v = dataset.load(), dataset.direction()
    np.testing.assert_allclose(np.linalg.norm(data.x_train, axis=1), 1, rtol=1e-14)
    assert np.all(data.y_train * (data.x_train @ v) >= margin - 1e-14)
    assert np.all(data.y_test * (data.x_test @ v) >= margin - 1e-14)
    up, down = data.x_train[data.y_train > 0], data.x_train[data.y_train < 0]
    gaps = np.linalg.norm(up[:, None] - down[None], axis=2)
    assert gaps.min() >= 2 * margin - 1e-14


def test_cut_sphere_is_the_sphere_with_points_rejected():
    dataset = TwoClassSphere(dim=4, num_train=5000, margin=0.3)
    heights = abs(dataset.load().x_train @ dataset.direction())
    x = np.random.default_rng(0).standard_normal((20000, 4))
    rejected = abs(x[:, 0] / np.linalg.norm(x, axis=1))
    # A sound sampler fails here with probability 1e-4 over seeds; the seed is fixed.
    assert stats.ks_2samp(heights, rejected[rejected > 0.3]).pvalue > 1e-4


def test_random_labels_keep_the_inputs_and_forget_the_labels():
    inner = Digits(classes=(3, 8), prepare=Prepare(pca=5))
    data, source = RandomLabels(inner).load(), inner.load()
    assert np.array_equal(data.x_train, source.x_train)
    assert np.array_equal(data.x_test, source.x_test)
    for y, true in ((data.y_train, source.y_train), (data.y_test, source.y_test)):
        assert set(y) == {-1.0, 1.0}
        # Sums of n independent signs: five sigma.
        assert abs(y @ true) < 5 * math.sqrt(len(y))
    other = RandomLabels(inner, seed=1).load()
    assert not np.array_equal(other.y_train, data.y_train)
    assert not np.array_equal(data.y_test, data.y_train[: len(data.y_test)])


@pytest.mark.parametrize("classes", [2, 10])
def test_random_labels_of_a_fair_die(classes):
    inner = Digits(labels="classes")
    data, source = RandomLabels(inner, num_classes=classes).load(), inner.load()
    assert np.array_equal(data.x_train, source.x_train)
    for y, true in ((data.y_train, source.y_train), (data.y_test, source.y_test)):
        counts = np.bincount(y.astype(int))
        assert set(y) == set(range(classes))
        # Each face a binomial number, and as many agree with what was learned: five
        # sigma of n p.
        slack = 5 * math.sqrt(len(y) / classes)
        assert np.abs(counts - len(y) / classes).max() < slack
        wanted = np.mean(true < classes) / classes
        assert abs((y == true).sum() - len(y) * wanted) < slack
    other = RandomLabels(inner, num_classes=classes, seed=1).load()
    assert not np.array_equal(other.y_train, data.y_train)


def test_a_die_has_two_faces():
    with pytest.raises(ValueError, match="^num_classes must be at least 2, got 1"):
        RandomLabels(Digits(), num_classes=1)


def test_errors_of_a_wrapped_dataset_name_its_path():
    wrapped = RandomLabels(_Constant(prepare=Prepare(subset=9)))
    with pytest.raises(ConfigError, match="^dataset.prepare.subset must be at most 3"):
        wrapped.load()


def rows(x):
    return {row.tobytes() for row in x}


def test_all_digits_are_split_in_four():
    data, pixels = Digits().load(), load_digits().data / 16
    assert (len(data.x_train), len(data.x_test)) == (1348, 449)
    assert rows(data.x_train) | rows(data.x_test) == rows(pixels)
    assert not rows(data.x_train) & rows(data.x_test)
    digits = 4.5 * data.y_train + 4.5
    assert set(np.round(digits, 12)) == set(range(10))


def test_two_digits_are_labelled_in_the_order_given():
    bunch = load_digits()
    data = Digits(classes=(8, 3)).load()
    eights = rows(bunch.data[bunch.target == 8] / 16)
    assert rows(data.x_train[data.y_train == -1]) <= eights
    assert not rows(data.x_train[data.y_train == 1]) & eights
    assert len(data.x_train) + len(data.x_test) == np.isin(bunch.target, (3, 8)).sum()
    mirrored = Digits(classes=(3, 8)).load()
    assert np.array_equal(mirrored.x_train, data.x_train)
    assert np.array_equal(mirrored.y_train, -data.y_train)


def test_classes_are_numbered_from_zero():
    scaled, classes = (Digits(labels=of).load() for of in ("scaled", "classes"))
    for part in ("train", "test"):
        x, y = getattr(classes, f"x_{part}"), getattr(classes, f"y_{part}")
        assert np.array_equal(x, getattr(scaled, f"x_{part}"))
        assert set(y) == set(range(10))
        assert y.dtype == np.float64
        # (k - 4.5)/4.5 and back rounds twice.
        back = 4.5 * getattr(scaled, f"y_{part}") + 4.5
        np.testing.assert_allclose(y, back, rtol=0, atol=4e-15)
    bunch = load_digits()
    nines = rows(bunch.data[bunch.target == 9] / 16)
    assert rows(classes.x_train[classes.y_train == 9]) <= nines


def test_two_classes_are_numbered_in_the_order_given():
    signs, numbers = (
        Digits(classes=(8, 3), labels=of).load() for of in ("scaled", "classes")
    )
    assert np.array_equal(numbers.x_train, signs.x_train)
    assert np.array_equal(numbers.y_train, (signs.y_train + 1) / 2)
    assert np.array_equal(numbers.y_test, (signs.y_test + 1) / 2)


def test_sizes_of_the_split():
    few = Digits(num_train=20, num_test=1777).load()
    assert not rows(few.x_train) & rows(few.x_test)
    assert len(few.x_test) == 1777
    assert len(Digits(num_train=1700).load().x_test) == 97
    assert len(Digits(num_train=100).load().x_test) == 449
    with pytest.raises(
        ConfigError, match="^num_train must be at most 1797, the images"
    ):
        Digits(num_train=1798).load()
    with pytest.raises(ConfigError, match="^num_test must be at most 449, as 1348 of"):
        Digits(num_test=450).load()


ARRAYS = {
    "x_train": np.array([[0.5, -1.0], [2.0, 3.0], [0.0, 1e-300]]),
    "y_train": np.array([1.0, -1.0, 0.25]),
    "x_test": np.array([[1.0, 1.0]]),
    "y_test": np.array([0.1]),
}
CSV = (
    "a, split, b, y\n0.5, train, -1.0, 1\n1,test,1,0.1\n\n"
    "2,train,3,-1\n0, train, 1e-300, 0.25\n"
)


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_arrays_read_back(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", ARRAYS)
    assert equal(ArrayFile(path).load(), ARRAYS.values())
    short = write(tmp_path / f"b{suffix}", dict(list(ARRAYS.items())[:2]))
    assert ArrayFile(short).load().x_test.shape == (0, 2)
    column = ARRAYS | {"y_train": ARRAYS["y_train"][:, None], "more": np.array(["a"])}
    if suffix == ".npz":
        assert equal(
            ArrayFile(write(tmp_path / "c.npz", column)).load(), ARRAYS.values()
        )


SPLIT_FIRST = (
    "split,a,b,y\ntrain,0.5,-1.0,1\ntest,1,1,0.1\ntrain,2,3,-1\ntrain,0,1e-300,0.25"
)


@pytest.mark.parametrize(
    "text", [CSV, CSV.replace("\n", "\r\n"), SPLIT_FIRST, "\ufeff" + SPLIT_FIRST]
)
def test_table_reads_back(tmp_path, text):
    path = tmp_path / "a.CSV"
    path.write_text(text, encoding="utf-8", newline="")
    assert equal(ArrayFile(path).load(), ARRAYS.values())


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"y_train": None}, "y_train must be in the file, which has "),
        ({"y_test": None}, "y_test must be in the file, which has "),
        ({"y_train": np.ones(4)}, "y_train must have 3 labels"),
        ({"y_train": np.ones((3, 2))}, "y_train must have shape"),
        ({"x_train": np.ones(3)}, "x_train must have shape"),
        ({"x_train": np.float64(3)}, "x_train must have shape"),
        ({"x_test": np.ones((1, 3))}, "x_test must have 2 columns"),
        (
            {"x_train": np.full((3, 2), np.nan)},
            "x_train must be finite, got nan in row 0",
        ),
        ({"y_train": np.array([b"a", b"b", b"c"])}, "y_train must hold real numbers"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, suffix, wrong, message):
    arrays = {k: v for k, v in (ARRAYS | wrong).items() if v is not None}
    path = write(tmp_path / f"a{suffix}", arrays)
    with pytest.raises(ConfigError, match=f"^path '{path}': {message}"):
        ArrayFile(path).load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line must be a header"),
        ("1,2\n3,4\n", "the first line must be a header"),
        ("y\n3\n", "the first line must be a header"),
        ("x,split,split,y\n", "the first line must be a header"),
        ("x,y\n", r"x_train must have a row and a column, got shape \(0, 1\)"),
        ("x,y\n1,2\n3\n", "line 3 must have 2 columns as the header has, got 1"),
        ("x,y\n1,2\n3,b\n", "line 3 must have a number in column 'y', got 'b'"),
        ("x,y\n1,\n", "line 2 must have a number in column 'y', got ''"),
        ("x,y\n1,inf\n", "y_train must be finite, got inf in row 0"),
        ("x,split,y\n1,val,2\n", "line 2 must have split train or test, got 'val'"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"^path '{path}': {message}"):
        ArrayFile(path).load()


def test_missing_files_are_refused(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    for name in ("none.npz", "folder.npz"):
        with pytest.raises(ConfigError, match="^path must be an existing file, got '"):
            ArrayFile(tmp_path / name).load()


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".h5"])
def test_unreadable_files_are_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(bytes(range(256)))
    message = f"^path must be a readable {suffix} file, got '{path}': .+"
    with pytest.raises(ConfigError, match=message) as caught:
        ArrayFile(path).load()
    assert "\n" not in str(caught.value)


def test_bare_array_is_not_an_archive(tmp_path):
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ConfigError, match="x_train must be in an archive"):
        ArrayFile(path).load()


class _Trap:
    def __reduce__(self):
        return pytest.fail, ("A pickle was opened.",)


def test_pickles_are_not_opened(tmp_path):
    path = write(tmp_path / "a.npz", ARRAYS | {"y_train": np.array([_Trap()] * 3)})
    with pytest.raises(ConfigError, match="^path must be a readable .npz file.*pickle"):
        ArrayFile(path).load()


def _external_link(file, other):
    file["x_train"] = h5py.ExternalLink(other, "x_train")


def _soft_link(file, other):
    file["there"] = h5py.ExternalLink(other, "/")
    file["x_train"] = h5py.SoftLink("/there/x_train")


def _external_storage(file, other):
    external = [(other, 0, 48)]
    file.create_dataset("x_train", (3, 2), dtype=float, external=external)


def _virtual(file, other):
    layout = h5py.VirtualLayout((3, 2), dtype=float)
    layout[:] = h5py.VirtualSource(other, "x_train", (3, 2))
    file.create_virtual_dataset("x_train", layout)


def _group(file, other):
    file.create_group("x_train")


@pytest.mark.parametrize(
    "add", [_external_link, _soft_link, _external_storage, _virtual, _group]
)
def test_what_is_not_in_the_file_is_refused(tmp_path, add):
    other = write(tmp_path / "other.h5", ARRAYS)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["y_train"] = ARRAYS["y_train"]
        add(file, str(other))
    message = "^path '.*a.h5': x_train must be a dataset stored in the file itself"
    with pytest.raises(ConfigError, match=message):
        ArrayFile(tmp_path / "a.h5").load()


@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("nowhere.h5", "x"), h5py.SoftLink("/nowhere")]
)
def test_link_is_refused_before_it_is_followed(tmp_path, link):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x_train"] = link
        file["y_train"] = ARRAYS["y_train"]
    message = f"got {type(link).__name__}; copy the array"
    with pytest.raises(ConfigError, match=message):
        ArrayFile(tmp_path / "a.h5").load()


def test_checksums_of_the_shipped_files():
    lines = (DATA / "SHA256SUMS").read_text().splitlines()
    sums = dict(line.split("  ")[::-1] for line in lines)
    assert set(sums) == {p.name for p in DATA.iterdir() if p.suffix in (".csv", ".npz")}
    for name, digest in sums.items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest


def test_script_makes_the_shipped_files_again(tmp_path):
    runpy.run_path(str(DATA / "make_data.py"))["make"](tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (DATA / path.name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


def test_shipped_points():
    luo = ArrayFile(DATA / "luo_points.csv").load()
    assert np.array_equal(luo.x_train[:, 0], np.linspace(-0.5, 0.5, 4))
    assert np.array_equal(luo.y_train, luo.x_train[:, 0] ** 2)
    plane = ArrayFile(DATA / "plane_points.csv").load()
    assert plane.x_train.shape == (3, 2)
    assert np.all(np.linalg.norm(plane.x_train, axis=1) <= 1)
    moons = ArrayFile(DATA / "two_classes.npz").load()
    assert (moons.x_train.shape, moons.x_test.shape) == ((40, 2), (20, 2))
    assert np.all(np.linalg.norm(moons.x_train, axis=1) <= 1)
    assert moons.y_train.sum() == moons.y_test.sum() == 0
    assert set(moons.y_train) == {-1.0, 1.0}
