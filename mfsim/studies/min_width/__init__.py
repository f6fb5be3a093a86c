"""The smallest width with zero training error, against the number of points."""

from mfsim.studies.min_width.study import MinWidth as MinWidth
