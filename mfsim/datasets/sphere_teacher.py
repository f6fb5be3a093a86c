"""Labels of a teacher network on the unit sphere."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from mfsim.component import count, real, static
from mfsim.datasets.base import AbstractDataset, Data, stream
from mfsim.datasets.draws import sphere_inputs, uniform_on_sphere
from mfsim.datasets.functions import SCALAR_FUNCTIONS, ScalarFunction
from mfsim.datasets.prepare import Prepare


class SphereTeacher(AbstractDataset):
    """y = sum_j a_j h(g v_j.x), x uniform on the unit sphere, |v_j| = 1, a_j = -1 or 1.

    The default is the teacher of Chizat et al. 2019, fig. 1: three relu neurons.

    Attributes:
        dim: Dimension d of the inputs.
        num_train: Number n of training points.
        num_test: Number of test points.
        teacher: `network` is the sum above; `single_index` is y = h(g v.x).
        teacher_width: Number of neurons of the `network` teacher.
        teacher_activation: The function h.
        gain: Factor g within h; g = sqrt(d) makes g v.x of order one.
        noise_std: Standard deviation of the Gaussian noise on the training labels; the
            test labels are the teacher's own, so that the test risk is the excess.
        sign: Whether the labels are the signs of the above, 1 at 0; odd functions h
            make the classes equally likely.
        seed: Of the teacher, the inputs and the noise, each in its own stream.
        prepare: What is done to the arrays; the teacher sees x as drawn.

    Source: Chizat, Oyallon, Bach 2019 (arXiv 1812.07956), sec. 3.
    """

    dim: int = count()
    num_train: int = count()
    num_test: int = count(1000, at_least=0)
    teacher: Literal["network", "single_index"] = static("network")
    teacher_width: int = count(3)
    teacher_activation: ScalarFunction = static("Relu")
    gain: float = real(1.0, above=0.0)
    noise_std: float = real(0.0, at_least=0.0)
    sign: bool = static(False)
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def raw(self):
        sizes = self.num_train, self.num_test
        x_train, x_test = sphere_inputs(self.seed, *sizes, self.dim)
        y_train, y_test = self.labels(x_train), self.labels(x_test)
        noise = stream(self.seed, "noise").standard_normal(self.num_train)
        y_train = y_train + self.noise_std * noise
        if self.sign:
            y_train, y_test = _signs(y_train), _signs(y_test)
        return Data(x_train, y_train, x_test, y_test)

    def labels(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The teacher's output at inputs as drawn, before noise and sign."""
        v, a = self.neurons()
        h = SCALAR_FUNCTIONS[self.teacher_activation]
        return h(self.gain * (x @ v.T)) @ a

    def neurons(self) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, " m"]]:
        """The teacher's input weights v, one neuron a row, and output weights a."""
        rng = stream(self.seed, "teacher")
        if self.teacher == "single_index":
            return uniform_on_sphere(rng, 1, self.dim), np.ones(1)
        v = uniform_on_sphere(rng, self.teacher_width, self.dim)
        return v, rng.choice([-1.0, 1.0], self.teacher_width)


def _signs(y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.where(y < 0, -1.0, 1.0)
