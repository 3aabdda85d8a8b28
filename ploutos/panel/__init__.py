"""The panel: bars, features and macro values aligned by date, as one Arrow IPC file.

Whatever needs Polars or pyarrow is loaded on first use: environment workers import this package
for the types of a panel only, each of them would pay for a library it never calls, and a process
that has loaded Polars cannot be forked safely.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ploutos.panel.model import Panel, PanelMeta, PanelRef

if TYPE_CHECKING:
    from ploutos.panel.build import build_panel
    from ploutos.panel.file import load_panel, panel_from_buffer, panel_to_buffer, save_panel

__all__ = [
    "Panel",
    "PanelMeta",
    "PanelRef",
    "build_panel",
    "load_panel",
    "panel_from_buffer",
    "panel_to_buffer",
    "save_panel",
]

_LOADED_ON_USE = {
    "build_panel": "ploutos.panel.build",
    "load_panel": "ploutos.panel.file",
    "panel_from_buffer": "ploutos.panel.file",
    "panel_to_buffer": "ploutos.panel.file",
    "save_panel": "ploutos.panel.file",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LOADED_ON_USE[name]), name)
