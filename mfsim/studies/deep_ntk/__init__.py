"""DeepNtk: when a finite deep ReLU network follows its kernel."""

from mfsim.studies.deep_ntk.study import DeepNtk as DeepNtk
