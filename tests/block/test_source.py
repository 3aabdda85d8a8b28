"""The panel file while it is published: what may happen to it, and what may not."""

import shutil
from pathlib import Path

import pytest

from ploutos.block.source import open_source
from ploutos.errors import BlockError
from ploutos.panel import PanelRef


@pytest.fixture
def own_panel(panel, tmp_path) -> PanelRef:
    path = shutil.copy(panel.path, tmp_path / "own.arrow")
    return panel.model_copy(update={"path": str(path)})


@pytest.mark.parametrize("how", ["overwritten", "appended to"])
def test_file_that_is_written_to_while_it_is_published_is_refused(own_panel, how):
    with open_source(own_panel) as source:
        source.check()
        source.check_unchanged()
        with Path(own_panel.path).open("ab" if how == "appended to" else "r+b") as file:
            file.write(b"?")
        with pytest.raises(BlockError, match="was changed while it was published"):
            source.check_unchanged()


def test_file_that_is_replaced_while_it_is_published_keeps_its_old_bytes(own_panel):
    with open_source(own_panel) as source:
        other = Path(own_panel.path).with_name("other")
        other.write_bytes(b"other")
        other.replace(own_panel.path)
        source.check()
        source.check_unchanged()
