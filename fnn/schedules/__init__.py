"""Learning rates as functions of the number of steps taken, as values.

A schedule is called with the number of steps, (), and returns the rate, (). One that is
written in epochs becomes one of steps by `ByEpoch`. `ReduceOnPlateau` and `BoldDriver` are
no schedules but controllers: they are told how the loss goes.
"""

from fnn.schedules.compositions import ByEpoch as ByEpoch
from fnn.schedules.compositions import OneCycle as OneCycle
from fnn.schedules.compositions import Piecewise as Piecewise
from fnn.schedules.compositions import Warmup as Warmup
from fnn.schedules.controllers import BoldDriver as BoldDriver
from fnn.schedules.controllers import ReduceOnPlateau as ReduceOnPlateau
from fnn.schedules.decays import Constant as Constant
from fnn.schedules.decays import CosineDecay as CosineDecay
from fnn.schedules.decays import ExponentialDecay as ExponentialDecay
from fnn.schedules.decays import InverseTimeDecay as InverseTimeDecay
from fnn.schedules.decays import PolynomialDecay as PolynomialDecay
from fnn.schedules.decays import StepDecay as StepDecay
