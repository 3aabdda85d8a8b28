"""One tree of exceptions. In: nothing. Out: the types that every stage raises.

A message says what was expected, what was received, where (symbol, bar, column) and what to do.
"""


class PloutosError(Exception):
    """Base of every error that Ploutos raises on purpose."""


class ConfigError(PloutosError):
    """A configuration is invalid or two of its parts contradict each other."""


class StoreError(PloutosError):
    """A file or folder of the store is missing, corrupt or cannot be written."""


class DataError(PloutosError):
    """Market or macro data are missing, malformed or contradictory."""


class SourceError(DataError):
    """A source cannot deliver: unknown symbol, no answer, an answer that is not data."""


class RevisionError(DataError):
    """A source changed what it had delivered before, and no known split or dividend explains it."""


class SnapshotError(DataError):
    """A snapshot is missing, or its bytes do not have the digest in its manifest."""


class FeatureError(PloutosError):
    """A feature definition or the frame it is computed on is invalid."""


class PanelError(PloutosError):
    """A panel cannot be built from its inputs, or a panel file is corrupt."""


class BlockError(PloutosError):
    """A shared block cannot be published, attached or verified."""


class SpaceError(BlockError):
    """A shared block does not fit into the file system that it was to be placed in."""


class FoldError(PloutosError):
    """The requested folds do not fit the data."""


class EnvironmentConfigError(ConfigError):
    """An environment was asked for something that its block or config cannot give."""


class WorkerError(PloutosError):
    """An environment worker died, raised, or did not answer in time."""


class TrainingError(PloutosError):
    """Training stopped: a member died, a guard fired, a checkpoint is unusable."""


class DivergedError(TrainingError):
    """A number is not finite or absurd: an observation, reward, loss, gradient or parameter."""


class PolicyError(PloutosError):
    """A policy folder is missing, corrupt or does not fit the block it is asked to act on."""


class CheckpointError(PolicyError):
    """A checkpoint is damaged or belongs to another model; training can start anew without it."""


class ValidationError(PloutosError):
    """A rollout or a report cannot be computed from what was given."""


class LedgerError(PloutosError):
    """The ledger refuses: a broken chain, a duplicate claim, a book that does not balance."""


class TradingError(PloutosError):
    """A paper-trading cycle refuses to go on."""
