"""Metrics: for one example, for a whole set, and a mean updated batch by batch.

For one example (`accuracy`, `binary_accuracy`, `top_k_accuracy`): output and target in, a
scalar out; `fit` and `evaluate` average them over the examples, like losses.

For a set (`confusion_matrix`, `precision`, `recall`, `f1`, `roc_auc`, `r2`,
`expected_calibration_error`): predictions and true values of all examples at
once, because a mean over examples or batches does not give them.
"""

from fnn.lazy import explain_missing as _explain_missing
from fnn.metrics.accuracies import accuracy as accuracy
from fnn.metrics.accuracies import binary_accuracy as binary_accuracy
from fnn.metrics.accuracies import top_k_accuracy as top_k_accuracy
from fnn.metrics.confusion import confusion_matrix as confusion_matrix
from fnn.metrics.confusion import f1 as f1
from fnn.metrics.confusion import precision as precision
from fnn.metrics.confusion import recall as recall
from fnn.metrics.scores import expected_calibration_error as expected_calibration_error
from fnn.metrics.scores import r2 as r2
from fnn.metrics.scores import roc_auc as roc_auc
from fnn.metrics.streaming import WeightedMean as WeightedMean

_explain_missing(__name__)
