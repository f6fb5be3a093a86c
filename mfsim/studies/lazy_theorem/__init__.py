"""Lazy training: the theorems of GNTK, measured."""

from mfsim.studies.lazy_theorem.study import LazyTheorem as LazyTheorem
