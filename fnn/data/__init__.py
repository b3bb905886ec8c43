"""Data: sets, splits and preprocessing on the host, shuffling and augmentation in JAX."""

from fnn.lazy import attach as _attach

__getattr__, __dir__ = _attach(__name__, __file__)
