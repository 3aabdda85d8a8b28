"""When a task is worth another try. In: the exception that ended it. Out: yes or no."""

from collections.abc import Callable
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

Condition = Callable[[Task[Any, Any], TaskRun, State[Any]], bool]


def only_for(*kinds: type[BaseException]) -> Condition:
    """Return a retry condition that holds for these exceptions only.

    An unknown symbol or a contradiction in the configuration fails again in the same way: the
    reader should see it at once, not after the last retry.
    """

    def condition(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
        return isinstance(state.data, kinds)

    return condition
