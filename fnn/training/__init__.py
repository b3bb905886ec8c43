"""Training: an objective, a pure step, and loops that run it."""

from fnn.training.evaluation import evaluate as evaluate
from fnn.training.fitting import FitResult as FitResult
from fnn.training.fitting import History as History
from fnn.training.fitting import fit as fit
from fnn.training.objective import Supervised as Supervised
from fnn.training.objective import supervised as supervised
from fnn.training.step import Step as Step
from fnn.training.step import TrainState as TrainState
from fnn.training.step import make_step as make_step
