"""Cross-validation trains each setting without each fold."""

import math

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn import search

SGD = fnn.optimizers.SGD(0.1)


def test_cross_validation_trains_without_each_fold():
    """11 examples in folds of 3, 4 and 4; as x² = 1, no step depends on its batch."""
    x = jnp.resize(jnp.array([1.0, -1.0]), (11, 1))
    model = fnn.Dense(1, bias=False, kernel_init=jax.nn.initializers.zeros)
    objective = fnn.supervised(model, fnn.losses.squared_error)
    results = search.cross_validate(
        (objective, SGD),
        [{"optimizer.learning_rate": rate} for rate in (0.1, 0.3)],
        (x, 2 * x),
        k=3,
        key=jax.random.key(3),
        epochs=2,
        batch_size=7,
        stratify=np.asarray(x[:, 0] > 0),
        progress=False,
    )
    for row in results.rows:
        shrink = 1 - 2 * row["optimizer.learning_rate"]
        # Two epochs of one step, where 7 are left to train on, and of two, where 8 are.
        losses = [(2 * shrink**steps) ** 2 for steps in (4, 2, 2)]
        assert math.isclose(row["val_loss"], np.mean(losses), rel_tol=1e-4)
        assert math.isclose(row["deviation"], np.std(losses), rel_tol=1e-3)
    assert results.best["optimizer.learning_rate"] == 0.3
