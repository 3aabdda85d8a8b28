import json
import re
from pathlib import Path

from flows.pipeline import PipelineConfig
from ploutos.folds import split
from ploutos.market import fetch

README = Path(__file__).parents[2] / "README.md"


def test_configuration_in_the_readme_is_valid_and_its_folds_fit_its_data():
    examples = re.findall(r"echo '(\{.*?\})' > mine\.json", README.read_text(), re.DOTALL)
    assert len(examples) == 1
    config = PipelineConfig.model_validate(json.loads(examples[0]))
    data = fetch(config.ingest)
    assert data.name == "macro-2014"
    folds = split(252, data.bars["closed_at"].n_unique(), config.train.folds)
    assert len(folds) == config.train.folds.n_folds
