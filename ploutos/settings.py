"""Where and how Ploutos runs. In: environment variables. Out: one frozen `Settings`."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
