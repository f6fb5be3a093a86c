"""The file of one run: written by `Recorder`, read by `Trajectory`; no JAX.

docs/file_format.md describes the file path by path.
"""

from mfsim.series import Series as Series
from mfsim.storage.layout import FORMAT_VERSION as FORMAT_VERSION
from mfsim.storage.layout import MAX_DATA_BYTES as MAX_DATA_BYTES
from mfsim.storage.layout import DataFile as DataFile
from mfsim.storage.recorder import Recorder as Recorder
from mfsim.storage.sweep import join_sweep as join_sweep
from mfsim.storage.sweep import open_sweep as open_sweep
from mfsim.storage.sweep import write_sweep_table as write_sweep_table
from mfsim.storage.trajectory import Trajectory as Trajectory
from mfsim.storage.trajectory import open_trajectory as open_trajectory
