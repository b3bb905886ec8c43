"""Training: an objective, a pure step, and loops that run it.

What `fit` does, and the module that does it::

    fitting               prepare, run the epochs, finish
      objective           the mean loss of a batch
      step                one step; accumulation: in microbatches
      placing             data on the device
      running/sources     batches from arrays, from files or from a loader
      running/runner      the steps of an epoch, in pieces
      evaluation          the metrics on held-out data
      running/nonfinite   which step went wrong, and in which layer
      running/resumption  checkpoints

`pure_training` has `train`, the same as one pure function, over the same parts. What a
user sees of it: `history`, `early_stopping`, `progress`, `memory`.

Words for what is counted, all from 0, with the same names everywhere:

    epoch      a pass over the data
    batch      a batch's `number` in its epoch; `first` and `end` bound a range of batches,
               from `first` to before `end`; `batches` is how many an epoch has
    step       of all training: `TrainState.step`, `EpochEnd.step`, a checkpoint's number
    piece      the steps between two looks of the host at the device
"""

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
