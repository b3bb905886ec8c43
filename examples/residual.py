"""What shortcuts do for depth: 44 layers with and without them, on digits.

    python examples/residual.py

Both networks are `fnn.models.resnet_cifar(44)` with batch normalization, the same initial
values and the same training; one has residual connections, the other is plain.

Source: He et al. 2016, "Deep residual learning for image recognition", figure 6.
"""

import jax

import fnn


def main(depth: int = 44, epochs: int = 8, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return the last training loss and the test accuracy of each network."""
    split_key, fit_key = jax.random.split(jax.random.key(seed))
    images, labels = fnn.data.digits()
    train, test = fnn.data.split(
        (images, labels), (0.8, 0.2), key=split_key, stratify=labels
    )
    accuracy = {"accuracy": fnn.metrics.accuracy}
    results = {}
    for name, residual in (("plain", False), ("residual", True)):
        print(f"{depth} layers, {name}")
        model = fnn.models.resnet_cifar(depth, residual=residual, shortcut="padded")
        params, state, history = fnn.fit(
            model,
            fnn.losses.softmax_cross_entropy,
            fnn.optimizers.Momentum(0.05),
            train,
            key=jax.random.fold_in(fit_key, 0),  # the same for both
            epochs=epochs,
            batch_size=64,
            metrics=accuracy,
        )
        score = fnn.evaluate(model, params, state, test, accuracy)["accuracy"]
        results[name] = float(history["loss"][-1]), score
    print(f"{depth} layers   training loss   test accuracy")
    for name, (loss, score) in results.items():
        print(f"{name:9}   {loss:13.3f}   {score:13.1%}")
    return results


if __name__ == "__main__":
    main()
