"""Private gradients: a clipped sum, and noise that hides each example."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.per_example.privacy.clipping import Clipped, ClippedGradient, clipped_gradient
from fnn.tree import Pattern
from fnn.types import Array, Key, PyTree
from fnn.values import Value, show


class PrivateGradient(Value):
    """A clipped gradient with Gaussian noise; see `private_gradient`, which makes it.

    Args:
        clip: The clipped gradient that gets the noise. Its bounds must be finite and above
            0, and it must have `zero_nonfinite=True`.
        noise_multiplier: σ, the deviation of the noise over `clip.sensitivity()`.

    Example:
        >>> clip = fnn.per_example.clipped_gradient(
        ...     fnn.losses.squared_error, 1.0, normalize_by=64.0, zero_nonfinite=True
        ... )
        >>> fnn.per_example.PrivateGradient(clip, 1.1).deviation  # 1.1 · 1 / 64
        0.0171875
    """

    clip: ClippedGradient
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not isinstance(self.clip, ClippedGradient):
            raise TypeError(f"clip must be a ClippedGradient, got {show(self.clip)}")
        if not self.clip.zero_nonfinite:
            raise ValueError(
                "clip must have zero_nonfinite=True: one NaN would show through any noise"
            )
        if not 0 < self.clip.sensitivity() < math.inf:
            raise ValueError(
                f"max_norm must be finite and above 0, got {self.clip.max_norm!r}"
            )
        checks.between("noise_multiplier", self.noise_multiplier, 0, 1e9)

    @property
    def deviation(self) -> float:
        """The standard deviation of the noise of each element of the gradient."""
        return self.noise_multiplier * self.clip.sensitivity()

    def __call__(
        self,
        params: PyTree,
        *batch: PyTree,
        mask: Array | None = None,
        key: Key | None = None,
    ) -> Clipped:
        """Compute the private gradient of a batch.

        Args:
            params: The parameters, of float32 at least.
            *batch: Arrays with a leading axis of B examples.
            mask: (B,), booleans: which examples count; by default all.
            key: A typed key; never use one twice.

        Returns:
            The noisy gradient. All other fields are exact, and not private.

        Raises:
            TypeError: If a parameter is narrower than float32.
            ValueError: If the key is missing, or the clipping refuses the batch.
        """
        key = checks.typed_key(key, "private_gradient")
        _check_wide(params)
        result = self.clip(params, *batch, mask=mask)
        leaves, structure = jax.tree.flatten(result.gradient)
        keys = jax.random.split(key, len(leaves))
        noisy = [
            leaf + self.deviation * jax.random.normal(k, leaf.shape, leaf.dtype)
            for leaf, k in zip(leaves, keys, strict=True)
        ]
        return result._replace(gradient=jax.tree.unflatten(structure, noisy))


def private_gradient(
    loss: Callable[..., Any],
    max_norm: float | Sequence[float],
    noise_multiplier: float,
    *,
    normalize_by: float,
    has_aux: bool = False,
    clipping: str | Sequence[Pattern] = "flat",
    method: str = "abadi",
    microbatch: int | None = None,
) -> PrivateGradient:
    """Make the gradient of private training: (Σᵢ cᵢ gᵢ + N(0, σ² C² I)) / normalize_by.

    With any optimizer this is DP-SGD: what is computed from a noisy gradient reveals no
    more than that gradient. One gradient is a Gaussian mechanism with noise multiplier σ.
    `epsilon` returns the cost of many, if each batch is drawn by `fnn.data.poisson_sample`:
    give it the number of examples and the length of the batches, which may truncate them.
    `fnn.fit` shuffles instead, and uses each example once an epoch. So account for it by
    `sampling_rate=1`, `steps=epochs` and a relation that keeps the number of examples.

    Two data sets are neighbours by `"add_or_remove"` or `"zero_out"`, and the sum differs
    by at most C; or by `"replace"`, and it differs by at most 2 C. `epsilon` takes the
    relation. An example whose gradient is not finite is ignored; the guarantee needs that.
    The guarantee covers the gradient alone: not losses, metrics, norms and the share of
    clipped examples, nor a choice of hyperparameters by them.

    The guarantee is one of real arithmetic. Here, norms and sums are rounded in the dtype
    of the parameters. The squared norm of a product over T positions, (T, d)ᵀ (T, p), may
    err by about (T + d + p) 2⁻²⁴ (Σₜ |aₜ| |gₜ|)². This is small relative to the squared
    norm unless positions cancel in unusual ways; the bound C moves with it. Noise of
    float32 has finitely many values, none beyond 5.5 deviations. And JAX's keys are meant
    for statistics, not for secrets: whoever guesses the seed can remove the noise.

    Source: Abadi et al. 2016, "Deep learning with differential privacy"; on the limits,
    Mironov 2012, "On significance of the least significant bits for differential privacy".

    Args:
        loss: `loss(params, *example) -> scalar`, or `(scalar, aux)`, of one example.
        max_norm: C, the bound on the norm that one example adds; or several, see
            `clipped_gradient`.
        noise_multiplier: σ ≥ 0; with 0, nothing is private.
        normalize_by: The divisor of sum and noise. Use the expected batch size, which is
            public; never the number of examples actually drawn, which is private.
        has_aux: Whether the loss returns a pair.
        clipping: `"flat"`, `"per_leaf"`, or patterns, as for `clipped_gradient`.
        method: As for `clipped_gradient`.
        microbatch: As for `clipped_gradient`.

    Returns:
        A value that is called `(params, *batch, mask=None, key=key)` and returns a
        `Clipped`. `make_step` and `fit` take `functools.partial(private_gradient,
        max_norm=1.0, noise_multiplier=1.1, normalize_by=256.0)` as their `gradient`. For
        the other options of clipping, make a `PrivateGradient`.

    Raises:
        ValueError: If an option is unknown, or a number is out of range.

    Example:
        >>> def loss(w, x):
        ...     return w @ x  # the gradient is x
        >>> private = fnn.per_example.private_gradient(loss, 1.0, 0.5, normalize_by=1000.0)
        >>> w, x = jax.numpy.zeros(2), jax.numpy.ones((1000, 2))
        >>> print(private(w, x, key=jax.random.key(0)).gradient.round(2))
        [0.71 0.71]
    """
    clip = clipped_gradient(
        loss,
        max_norm,
        has_aux=has_aux,
        clipping=clipping,
        method=method,
        normalize_by=normalize_by,
        zero_nonfinite=True,
        microbatch=microbatch,
    )
    return PrivateGradient(clip, noise_multiplier)


def _check_wide(params: PyTree) -> None:
    """Raise if rounding a sum could change it by more than one example does."""
    for path, leaf in tree.flatten(params).items():
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4:
            raise TypeError(
                f"private_gradient needs parameters of float32 at least, as the rounding "
                f"of narrower sums exceeds what noise hides; {path or 'params'} is "
                f"{checks.describe(leaf)}; convert to it inside the loss"
            )
