"""Lazy training: three published experiments on the one scale alpha."""

from mfsim.studies.lazy_training.study import LazyTraining as LazyTraining
