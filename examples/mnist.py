"""Train a multi-layer perceptron, 784-512-512-10, on MNIST.

    python examples/mnist.py --data FOLDER

FOLDER has the four IDX files of MNIST, compressed by gzip or not.
"""

import argparse

import jax

import fnn

MODEL = fnn.Sequential(
    fnn.Flatten(),
    fnn.Dense(512),
    jax.nn.relu,
    fnn.Dropout(0.2),
    fnn.Dense(512),
    jax.nn.relu,
    fnn.Dropout(0.2),
    fnn.Dense(10),
)


def main(data: str, epochs: int = 10, seed: int = 0) -> float:
    """Train and return the accuracy on the test images."""
    split_key, fit_key = jax.random.split(jax.random.key(seed))
    train, test = fnn.data.mnist(data)
    train, validation = fnn.data.split(train, (55_000, 5_000), key=split_key)
    print(fnn.summary(MODEL, train[0][0]), "\n")
    accuracy = {"accuracy": fnn.metrics.accuracy}
    params, state, _ = fnn.fit(
        MODEL,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(fnn.schedules.InverseTimeDecay(1e-3, 0.5, period=430)),
        train,
        key=fit_key,
        epochs=epochs,
        batch_size=128,
        validation=validation,
        metrics=accuracy,
    )
    score = fnn.evaluate(MODEL, params, state, test, accuracy)["accuracy"]
    print(f"\ntest accuracy: {score:.2%} of {len(test[1])} images")
    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder with the MNIST files")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.data, arguments.epochs)
