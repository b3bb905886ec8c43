"""Per-example gradients of any JAX loss, kept factored, and what research asks of them.

For one example, the gradient of a weight matrix is a product of what went into it and of
the cotangent that came back. Norms, clipped sums, inner products and moments of all of
them follow from these factors, which one backward pass computes anyway.
"""

from fnn.lazy import explain_missing as _explain_missing
from fnn.per_example.factored import FactoredGradients as FactoredGradients
from fnn.per_example.factored import gradients as gradients
from fnn.per_example.privacy.accounting import (
    calibrate_noise_multiplier as calibrate_noise_multiplier,
)
from fnn.per_example.privacy.accounting import epsilon as epsilon
from fnn.per_example.privacy.clipping import Clipped as Clipped
from fnn.per_example.privacy.clipping import ClippedGradient as ClippedGradient
from fnn.per_example.privacy.clipping import clipped_gradient as clipped_gradient
from fnn.per_example.privacy.noise import PrivateGradient as PrivateGradient
from fnn.per_example.privacy.noise import private_gradient as private_gradient
from fnn.per_example.questions.attribution import Ranking as Ranking
from fnn.per_example.questions.attribution import opponents as opponents
from fnn.per_example.questions.attribution import proponents as proponents
from fnn.per_example.questions.attribution import self_influence as self_influence
from fnn.per_example.questions.attribution import tracin as tracin
from fnn.per_example.questions.checking import Check as Check
from fnn.per_example.questions.checking import check as check
from fnn.per_example.questions.importance import Importance as Importance
from fnn.per_example.questions.importance import importance_sampling as importance_sampling
from fnn.per_example.questions.jacobians import (
    directional_derivatives as directional_derivatives,
)
from fnn.per_example.questions.jacobians import (
    fisher_vector_product as fisher_vector_product,
)
from fnn.per_example.questions.jacobians import (
    neural_tangent_kernel as neural_tangent_kernel,
)
from fnn.per_example.questions.statistics import GroupNorms as GroupNorms
from fnn.per_example.questions.statistics import NoiseScale as NoiseScale
from fnn.per_example.questions.statistics import (
    gradient_noise_scale as gradient_noise_scale,
)
from fnn.per_example.questions.statistics import group_norms as group_norms
from fnn.per_example.report import Explanation as Explanation

_explain_missing(__name__)
