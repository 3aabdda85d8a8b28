"""The base of every stage's config model. In: nothing. Out: `FrozenConfig`.

It stands apart from the settings because every environment worker needs it, and the library that
reads settings from the environment would cost each process 12 MiB.
"""

from pydantic import BaseModel, ConfigDict


class FrozenConfig(BaseModel):
    """Base of the stage configs: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
