"""The pipeline in this process, shown on a terminal. In: a config. Out: a run and its table.

The only module of the command that imports Prefect and the stages.
"""

import logging
import signal

from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import temporary_settings
from rich.console import Console

from flows.display import show_summary, showing
from flows.pipeline import PipelineConfig, pipeline
from flows.progress import listening
from ploutos.runs import run_folder
from ploutos.store import read_json


def configure(text: str) -> PipelineConfig:
    """Read a configuration from JSON; what it does not name keeps its default.

    Raises
    ------
    pydantic.ValidationError
        If a key is unknown or a value is refused.
    """
    return PipelineConfig.model_validate_json(text)


def run_pipeline(console: Console, config: PipelineConfig) -> None:
    """Run the pipeline with its progress on `console`, then print what it left."""
    _silence_prefect()
    # Polars' handler makes interrupted waits go on: Ctrl-C would be noticed when training ends.
    signal.siginterrupt(signal.SIGINT, True)
    # The end of every flow waits up to 1 s for its heartbeat, and nobody watches these.
    silent_heart = temporary_settings({"flows.heartbeat_frequency": None})
    with silent_heart, showing(console) as listener, listening(listener):
        run_id = pipeline(config)
    show_summary(console, read_json(run_folder(run_id) / "summary.json"))


def _silence_prefect() -> None:
    """Leave the terminal to the progress bars; Prefect's database keeps every log line."""
    for name in ("prefect", *logging.root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.setLevel(logging.CRITICAL + 1)
