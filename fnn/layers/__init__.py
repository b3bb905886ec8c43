"""Layers, and the combinators that make networks of them."""

from fnn.lazy import attach as _attach

__getattr__, __dir__ = _attach(__name__, __file__)
