"""The errors a user can meet: each names the argument, what arrived, and what to write."""


class SpiketrainError(Exception):
    """Base of every error that spiketrain raises on purpose."""


class UnitError(SpiketrainError, ValueError):
    """A quantity has the wrong physical dimension, or none where one is due."""


class DomainError(SpiketrainError, ValueError):
    """A value makes no physical sense, such as a negative time constant."""


class ShapeError(SpiketrainError, ValueError):
    """An array does not have the shape that the model needs."""


class StateError(SpiketrainError, RuntimeError):
    """State is missing, already there, or changed where it must not be."""


class ConfigError(SpiketrainError, ValueError):
    """A configuration names something unknown or holds a value of the wrong kind."""


class DataError(SpiketrainError, RuntimeError):
    """A data file is missing, truncated or not what it claims to be."""


class SimulationError(SpiketrainError, RuntimeError):
    """A simulation cannot go on: a State is no longer a number."""


class TrainingError(SpiketrainError, RuntimeError):
    """Training cannot go on: the loss is no longer a number."""


class CheckpointError(SpiketrainError, RuntimeError):
    """A checkpoint is missing, damaged or belongs to another model."""
