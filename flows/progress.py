"""What a stage is doing. In: a fraction and a sentence. Out: the terminal, the log, an artifact.

Whoever runs a flow in their own process may listen (`listening`); a run on a worker has only the
log and the progress artifact.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

ARTIFACT_INTERVAL_S = 5.0
LOG_INTERVAL_S = 30.0


@dataclass(frozen=True)
class Progress:
    """How far a stage has come: `fraction` of its work is done; `finished` once, at its end."""

    stage: str
    fraction: float
    message: str
    finished: bool = False


Listener = Callable[[Progress], None]

_LISTENER: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` with every progress of the flows that are run inside the block."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class StageProgress:
    """The progress of one stage; made inside a Prefect task or flow, told from any thread."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._listener = _LISTENER.get()
        self._logger = get_run_logger()
        self._context = copy_context()
        self._artifact: UUID | None = None
        self._logged_at = self._shown_at = time.monotonic()

    def report(self, fraction: float, message: str) -> None:
        """Tell the listener now, the artifact and the log every few seconds."""
        if self._listener is not None:
            self._listener(Progress(self._stage, fraction, message))
        now = time.monotonic()
        if now - self._shown_at >= ARTIFACT_INTERVAL_S:
            self._shown_at = now
            self._show(fraction, message)
        if now - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = now
            self._logger.info("%.0f %%: %s", 100 * fraction, message)

    def finish(self, message: str) -> None:
        """Tell everybody that the stage is done."""
        if self._listener is not None:
            self._listener(Progress(self._stage, 1.0, message, finished=True))
        if self._artifact is not None:
            self._show(1.0, message)
        self._logger.info(message)

    def _show(self, fraction: float, message: str) -> None:
        # A thread of the library has an empty context: Prefect would not know whose artifact it is.
        context = self._context.copy()
        try:
            self._artifact = context.run(self._put_artifact, 100 * fraction, message)
        except httpx.HTTPError as error:
            self._logger.warning("the progress could not be shown, the work goes on: %s", error)

    def _put_artifact(self, percent: float, message: str) -> UUID:
        if self._artifact is None:
            key = f"{self._stage}-progress"
            return cast("UUID", create_progress_artifact(percent, key, message))
        return cast("UUID", update_progress_artifact(self._artifact, percent, message))
