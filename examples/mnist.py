"""Train a multi-layer perceptron, 784-512-512-10, or LeNet on MNIST.

    python examples/mnist.py --data FOLDER [--model lenet]

FOLDER has the four IDX files of MNIST, compressed by gzip or not.
"""

import argparse

import jax

import fnn

MODELS = {"mlp": fnn.models.mlp(512, 512, 10, dropout=0.2), "lenet": fnn.models.lenet()}
EPOCHS = {"mlp": 10, "lenet": 6}


def main(data: str, name: str = "mlp", epochs: int | None = None, seed: int = 0) -> float:
    """Train and return the accuracy on the test images."""
    model, epochs = MODELS[name], epochs or EPOCHS[name]
    split_key, fit_key = jax.random.split(jax.random.key(seed))
    train, test = fnn.data.mnist(data)
    train, validation = fnn.data.split(train, (55_000, 5_000), key=split_key)
    print(fnn.summary(model, train[0][0]), "\n")
    steps = epochs * -(-55_000 // 64)
    accuracy = {"accuracy": fnn.metrics.accuracy}
    params, state, _ = fnn.fit(
        model,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(fnn.schedules.CosineDecay(2e-3, steps)),
        train,
        key=fit_key,
        epochs=epochs,
        batch_size=64,
        validation=validation,
        metrics=accuracy,
        augment=fnn.data.RandomShift(1) if name == "lenet" else None,
    )
    score = fnn.evaluate(model, params, state, test, accuracy)["accuracy"]
    print(f"\ntest accuracy: {score:.2%} of {len(test[1])} images")
    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    parser.add_argument("--model", choices=list(MODELS), default="mlp")
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    main(arguments.data, arguments.model, arguments.epochs)
