"""Ploutos: train, judge and paper-trade reinforcement-learning strategies, honestly."""

__version__ = "0.1.0"
