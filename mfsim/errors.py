"""The errors of mfsim: one line each, for people."""


class MfsimError(Exception):
    """Base of every error that mfsim raises on purpose; its text is one line."""


class ConfigError(MfsimError):
    """A configuration or an input file that cannot be run; names the dotted path."""


class Diverged(MfsimError):
    """A trajectory that left the finite numbers; names a step that would be stable."""


class FormatError(MfsimError):
    """A file that is not, or is no longer, a readable mfsim file."""
