import pytest
from pydantic import ValidationError

from ploutos.validation.config import ValidationConfig


def test_every_field_is_described_with_its_unit():
    units = ("probability", "count", "integer", "fraction", "per year")
    for name, field in ValidationConfig.model_fields.items():
        assert field.description, name
        assert any(unit in field.description for unit in units), name


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError, match="extra_forbidden"):
        ValidationConfig.model_validate({"confidense": 0.9})


@pytest.mark.parametrize(
    "wrong", [{"confidence": 1.0}, {"confidence": 0.5}, {"bootstrap_draws": 10}, {"seed": -1}]
)
def test_an_impossible_threshold_is_refused(wrong):
    with pytest.raises(ValidationError):
        ValidationConfig.model_validate(wrong)
