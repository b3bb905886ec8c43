"""Learning rates as functions of the number of steps taken, as values.

A schedule is called with the number of steps, (), and returns the rate, (). One that is
written in epochs becomes one of steps by `ByEpoch`. `ReduceOnPlateau` and `BoldDriver` are
no schedules but controllers: they are told how the loss goes.
"""

from fnn.lazy import attach as _attach

__getattr__, __dir__ = _attach(__name__, __file__)
