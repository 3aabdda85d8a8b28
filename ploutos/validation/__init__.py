"""The honest verdict: out-of-sample rollouts, baselines, statistics, gate, report.

In: a trained run. Out: a report that a person understands, and a verdict with reasons.
"""

from ploutos.validation.config import ValidationConfig
from ploutos.validation.gate import Verdict, judge
from ploutos.validation.rollout import Rollout
from ploutos.validation.run import ValidationSummary, validate_run

__all__ = [
    "Rollout",
    "ValidationConfig",
    "ValidationSummary",
    "Verdict",
    "judge",
    "validate_run",
]
