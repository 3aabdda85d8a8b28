"""Where and how Ploutos runs. In: environment variables. Out: one frozen `Settings`.

Also holds `FrozenConfig`, the base of every stage's config model.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class FrozenConfig(BaseModel):
    """Base of the stage configs: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Settings(BaseSettings):
    """Process-wide settings, read from `PLOUTOS_*` environment variables."""

    model_config = SettingsConfigDict(env_prefix="PLOUTOS_", frozen=True, extra="ignore")

    home: Path = Field(
        default=Path(".ploutos"),
        description="Folder of everything Ploutos writes; relative to the working directory.",
    )
    alpaca_key_id: SecretStr | None = Field(default=None, description="Name of the key at Alpaca.")
    alpaca_secret_key: SecretStr | None = Field(default=None, description="The key's secret.")


def load_settings() -> Settings:
    """Read the settings afresh from the environment."""
    return Settings()
