"""Datasets: where the inputs and labels come from."""

from mfsim.datasets.array_file import ArrayFile
from mfsim.datasets.base import AbstractDataset, Data, stream
from mfsim.datasets.cifar10 import Cifar10
from mfsim.datasets.digits import Digits
from mfsim.datasets.gaussian_teacher import GaussianTeacher
from mfsim.datasets.mnist_idx import MnistIdx
from mfsim.datasets.parity import Parity
from mfsim.datasets.prepare import Prepare
from mfsim.datasets.random_labels import RandomLabels
from mfsim.datasets.sphere_teacher import SphereTeacher
from mfsim.datasets.two_class_sphere import TwoClassSphere

__all__ = [
    "AbstractDataset",
    "ArrayFile",
    "Cifar10",
    "Data",
    "Digits",
    "GaussianTeacher",
    "MnistIdx",
    "Parity",
    "Prepare",
    "RandomLabels",
    "SphereTeacher",
    "TwoClassSphere",
    "stream",
]
