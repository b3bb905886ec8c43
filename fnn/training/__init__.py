"""Training: an objective, a pure step, and loops that run it."""

from fnn.lazy import explain_missing as _explain_missing
from fnn.training.early_stopping import EarlyStopping as EarlyStopping
from fnn.training.early_stopping import StoppingState as StoppingState
from fnn.training.evaluation import evaluate as evaluate
from fnn.training.fitting import FitResult as FitResult
from fnn.training.fitting import fit as fit
from fnn.training.history import EpochEnd as EpochEnd
from fnn.training.history import History as History
from fnn.training.history import LogToFile as LogToFile
from fnn.training.history import TensorBoard as TensorBoard
from fnn.training.history import load_history as load_history
from fnn.training.history import save_history as save_history
from fnn.training.memory import MemoryReport as MemoryReport
from fnn.training.memory import memory_report as memory_report
from fnn.training.objective import Metric as Metric
from fnn.training.objective import Supervised as Supervised
from fnn.training.objective import supervised as supervised
from fnn.training.per_example_gradient import PerExampleGradient as PerExampleGradient
from fnn.training.pure_training import Trained as Trained
from fnn.training.pure_training import train as train
from fnn.training.step import Step as Step
from fnn.training.step import TrainState as TrainState
from fnn.training.step import make_step as make_step

_explain_missing(__name__)
