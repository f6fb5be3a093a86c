"""load_study(): a study from its name or its TOML file."""

from pathlib import Path

from mfsim.component import build, kinds
from mfsim.errors import ConfigError
from mfsim.overrides import Overrides, override, read_toml
from mfsim.studies.base import AbstractStudy, study_name


def load_study(
    what: str | Path, overrides: Overrides = (), *, is_quick: bool = False
) -> tuple[str, AbstractStudy]:
    """A study and what its folder is called.

    Args:
        what: A name, such as `lazy_theorem`, or a TOML file with a `kind` and fields.
        overrides: Values by field, or lines "FIELD=VALUE"; they win over all else.
        is_quick: Whether to take the small version's values for what they set.

    Raises:
        ConfigError: If there is no such study or file, or a field is wrong.
    """
    studies = {study_name(kind): kind for kind in kinds(AbstractStudy).values()}
    if str(what) in studies:
        name, table = str(what), {"kind": studies[str(what)].__name__}
    elif str(what).endswith(".toml"):
        name = Path(what).stem
        try:
            table = read_toml(Path(what))
        except ConfigError as error:
            raise ConfigError(f"{what}: {error}") from error
    else:
        raise ConfigError(
            f"study must be one of {sorted(studies)} or a TOML file, got {what!r}."
        )
    kind = kinds(AbstractStudy).get(str(table.get("kind")))
    if is_quick and kind is not None:
        table = {**table, **kind.QUICK}
    return name, build(AbstractStudy, override(table, overrides), "study")
