"""The environment of a local run. In: `$PLOUTOS_HOME`. Out: the variables that Prefect reads."""

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

from ploutos.store import home

PROFILE_VARIABLES = ("PREFECT_PROFILE", "PREFECT_PROFILES_PATH")


def default_environment(present: Mapping[str, str]) -> dict[str, str]:
    """Return the defaults of a run on this machine; the caller must not override what is present.

    Parameters
    ----------
    present
        The environment as it is. Whoever names a Prefect profile in it keeps their own Prefect
        home, because that is where profiles are found.
    """
    defaults = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        # The first start creates the database: 15 s on a busy machine, of the 20 that are allowed.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    if not any(name in present for name in PROFILE_VARIABLES):
        defaults["PREFECT_HOME"] = str(home() / "prefect")
    return defaults


def prepare_environment(environment: MutableMapping[str, str]) -> None:
    """Put the defaults into `environment`, and make sure that Prefect's home can be created."""
    for name, value in default_environment(environment).items():
        environment.setdefault(name, value)
    if "PREFECT_HOME" in environment:
        # Prefect creates its home at import, but not the folder above it. Where that cannot be
        # written, the first write of Ploutos says so in its own words.
        with suppress(OSError):
            Path(environment["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
