"""Per-example gradients of any JAX loss, kept factored, and the questions to them.

For one example, the gradient of a weight matrix is a product, of what went into the layer
and of the cotangent that came back. Norms, clipped sums, inner products and moments of all
B gradients follow from these two, which one backward pass computes anyway.

How ‖gᵢ‖ comes about, for a loss of two layers::

    0.5 * sum((tanh(x @ w + b) @ v - y) ** 2)      x (784,), w (784, 128), v (128, 10)

1. Trace the gradient of one example (`tracing.graph`). Its jaxpr, shortened::

    h:f32[128]     = tanh ...
    r:f32[10]      = mul ...               the cotangent of the output
    s:f32[10,128]  = dot_general r h
    t:f32[128,10]  = transpose s           the gradient of v
    u:f32[128]     = dot_general r v
    d:f32[128]     = add_any ...           the gradient of b
    m:f32[128,784] = dot_general d x
    z:f32[784,128] = transpose m           the gradient of w

2. Walk back from each gradient to the products that form it (`tracing.walking`, and for
   loops `tracing.scans`): from t past a view to the product s of r and h; from z to m. The
   walk from d ends at elementwise operations, so the gradient of b is formed.
3. Leave s, t, m and z out. Evaluate the rest in `vmap`: x, h, r and d of all B examples.
4. Keep these as parts (`parts`): w is a `Dot` of x and d, v a `Dot` of h and r, b is
   `Formed`: d itself. A parameter's parts are a `Leaf`.
5. Ask (`factored`, `questions`, `privacy`). For w, ‖gᵢ‖² = |xᵢ|² |dᵢ|², by the rule "rank
   one" of `parts.norms`; Σ cᵢ gᵢ is one product, of x (B, 784) and c d (B, 128).

A new rule for the norm of a product goes into `parts.norms.RULES`. A new kind of product
is recognized by `tracing.walking`, and is a class like `parts.products.Dot`.

The words, each for one thing:

- *product*: one use of a parameter, g = Aᵀ G, with the *factors* A (N, T, d) and G
  (N, T, p), made of the *operands* of an equation. Its T *positions* are summed over.
- *part*: a summand of a gradient: a `ProductSum`, a `Lookup` (rows of a table), `Formed`.
- *formed*: there as an array, in the shape of the parameter.
- *rule*: a formula for a norm. *Gram*: a matrix of inner products ⟨gᵢ, hⱼ⟩.
- *view*: a rearrangement of elements, such as a transpose. *Path*: the views and scale
  factors from a gradient to a product.
- *leaf*: the gradients of one parameter. *Block*: the examples computed at once.
- Parts and products are of one example; methods for a batch of them begin with `batch_`.
  `Leaf` and `FactoredGradients` are always of a batch.
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
