"""What a dataset is: a component that loads training and test arrays."""

import dataclasses
from abc import abstractmethod
from pathlib import Path

import equinox as eqx

from mfsim.component import Component
from mfsim.datasets.arrays import Data, check
from mfsim.datasets.draws import stream
from mfsim.datasets.prepare import Prepare

__all__ = ["AbstractDataset", "Data", "stream"]


class AbstractDataset(Component):
    """Where the inputs and labels come from; all that is drawn, from its own seed.

    A kind declares `seed: int = count(0, at_least=0, at_most=2**32 - 1)` and
    `prepare: Prepare = Prepare()` last among its fields, and writes `raw`.
    """

    seed: eqx.AbstractVar[int]
    prepare: eqx.AbstractVar[Prepare]

    @abstractmethod
    def raw(self) -> Data:
        """Read or draw the arrays before `prepare`; the same arrays each time."""

    def load(self) -> Data:
        """The checked and prepared float64 arrays; the same arrays each time.

        Raises:
            ConfigError: If the arrays are not sound or do not admit `prepare`; the
                message begins with the name of the field or array.
        """
        return self.prepare.apply(check(self.raw()), self.seed)

    def files(self) -> tuple[Path, ...]:
        """Input files whose content counts: every field that is a path."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        inner = [v.files() for v in values if isinstance(v, AbstractDataset)]
        return sum(inner, tuple(v for v in values if isinstance(v, Path)))
