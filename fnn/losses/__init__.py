"""Losses of one example: output and target in, a scalar out.

They sum over the components of one example, unless the name says `mean`; training takes
the mean over examples. Fix an option with `functools.partial(fnn.losses.huber,
delta=2.0)`. Classifiers' losses take logits, never probabilities, unless the name says so.

Called on concrete arrays, a loss checks its targets' values (labels within the classes).
Inside `jit` and `vmap`, values are not known, and an invalid class or sign gives NaN.
"""

from fnn.lazy import explain_missing as _explain_missing
from fnn.losses.classification import binary_cross_entropy as binary_cross_entropy
from fnn.losses.classification import binary_focal as binary_focal
from fnn.losses.classification import hinge as hinge
from fnn.losses.classification import kl_divergence as kl_divergence
from fnn.losses.classification import logistic as logistic
from fnn.losses.classification import misclassification as misclassification
from fnn.losses.classification import multiclass_hinge as multiclass_hinge
from fnn.losses.classification import nll as nll
from fnn.losses.classification import softmax_cross_entropy as softmax_cross_entropy
from fnn.losses.regression import absolute_error as absolute_error
from fnn.losses.regression import cosine_distance as cosine_distance
from fnn.losses.regression import gaussian_nll as gaussian_nll
from fnn.losses.regression import half_squared_error as half_squared_error
from fnn.losses.regression import huber as huber
from fnn.losses.regression import log_cosh as log_cosh
from fnn.losses.regression import mean_absolute_error as mean_absolute_error
from fnn.losses.regression import mean_squared_error as mean_squared_error
from fnn.losses.regression import poisson_nll as poisson_nll
from fnn.losses.regression import quantile as quantile
from fnn.losses.regression import squared_error as squared_error

_explain_missing(__name__)
