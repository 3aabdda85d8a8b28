import pytest

from ploutos.validation import report_text

THIN = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1234, "12.3_%"),
        (-0.05, f"{MINUS}5.0_%"),
        (-0.0001, "0.0_%"),
        (12.5, "1,250.0_%"),
        (None, DASH),
    ],
)
def test_a_fraction_is_shown_in_percent(value, text):
    assert report_text.percent(value) == text.replace("_", THIN)


@pytest.mark.parametrize(
    ("value", "text"), [(1.236, "1.24"), (-0.001, "0.00"), (-2.5, f"{MINUS}2.50"), (None, DASH)]
)
def test_a_ratio_is_shown_with_two_decimals(value, text):
    assert report_text.number(value) == text


def test_a_measured_value_is_shown_in_its_unit():
    assert report_text.quantity(755.0, "bars") == "755 bars"
    assert report_text.quantity(0.05, "log growth per year") == f"5.0{THIN}% a year"
    assert report_text.quantity(0.95, "probability") == f"95.0{THIN}%"
    assert report_text.quantity(None, "probability") == DASH


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (100_000, "100,000"), (0.5, "0.50"), (None, DASH), ("PPO", "PPO")],
)
def test_a_cell_of_a_free_table_is_shown_by_its_type(value, text):
    assert report_text.cell(value) == text


def test_a_sentence_gets_real_minus_signs_but_keeps_its_hyphens():
    sentence = "It grew -4.4% (2010-01-04, buy-and-hold)"
    assert report_text.typeset(sentence) == f"It grew {MINUS}4.4{THIN}% (2010-01-04, buy-and-hold)"


def test_lineage_is_parted_into_lines_and_blocks():
    lineage = {"code": "abc", "config": {"seed": 1}, "missing": []}
    assert report_text.lineage_rows(lineage) == [("code", "abc")]
    assert [name for name, _ in report_text.lineage_blocks(lineage)] == ["config", "missing"]
