from datetime import UTC, datetime
from pathlib import Path

import pytest

from ploutos.features import CATALOG, MACRO_CATALOG
from ploutos.features.describe import catalog_page, catalog_text, leaks_text
from ploutos.features.leaks import Leak

ROOT = Path(__file__).parents[2]
ROWS = [*CATALOG, *MACRO_CATALOG]


def test_the_page_in_the_docs_is_that_of_the_catalog():
    """To renew it: ploutos features --format markdown > docs/features.md."""
    page = (ROOT / "docs" / "features.md").read_text()
    assert page == catalog_page(CATALOG, MACRO_CATALOG)


def test_the_page_holds_every_row_in_cells_of_five():
    lines = catalog_page(CATALOG, MACRO_CATALOG).splitlines()
    tables = [line for line in lines if line.startswith("| `")]
    for row, line in zip(ROWS, tables, strict=True):
        cells = [cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")]
        plain = [cell.replace("\0", "|").replace("\\*", "*") for cell in cells]
        assert plain == [
            f"`{row.name}`",
            str(row.warm_up_bars),
            row.unit,
            row.formula,
            row.source,
        ]


def test_the_pages_of_the_features_are_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    for name in ("docs/features.md", "docs/own-features.md"):
        assert f"]({name})" in readme
        assert (ROOT / name).is_file()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_text_keeps_within_its_width_and_loses_no_word(width):
    text = catalog_text(ROWS, width)
    assert max(map(len, text.splitlines())) <= width
    said = " ".join(text.split())
    for row in ROWS:
        for part in (row.name, f"warm-up {row.warm_up_bars} bars, {row.unit}", row.formula):
            assert " ".join(part.split()) in said
        assert f"[{row.source}]" in said


def leak(feature="peek", check="truncation", expected: float | None = 0.5, received=None, bar=4):
    at = datetime(2024, 1, 8, 21, tzinfo=UTC)
    return Leak(feature, check, "AAA", bar, at, 5, expected, received)


def test_a_leak_is_told_by_its_first_bar_and_all_checks_that_found_it():
    text = leaks_text([leak(), leak(check="doubling", bar=2, received=0.7)])
    assert text.startswith("peek knows what comes later\n  AAA, bar 2 (2024-01-08): 0.5, but 0.7")
    assert "found by truncation, doubling" in text
    assert "shift(-n)" in text
    assert "warm_up_bars" not in text


def test_a_short_warm_up_is_told_with_what_to_do():
    text = leaks_text([leak(check="warm-up", received=0.4)])
    assert "longer memory than its warm-up" in text
    assert "warm_up_bars (at most 252)" in " ".join(text.split())
    assert "shift(-n)" not in text


def test_values_that_differ_in_the_last_bit_are_told_apart():
    text = leaks_text([leak(expected=0.1 + 0.2, received=0.3)])
    assert "0.30000000000000004, but 0.29999999999999999" in text
    assert "0.5, but missing" in leaks_text([leak()])
