"""Which training digits made this mistake, and which labels are wrong? TracIn answers both.

    python examples/influence.py

Gives 5 % of the training digits a wrong label and trains a perceptron on them, keeping the
parameters now and then. Digits with much influence upon themselves are the mislabelled. For
the worst mistakes on test digits, those that made them are drawn into `outputs`.

Source: Pruthi et al. 2020, "Estimating training data influence by tracing gradient descent"
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import fnn
from fnn import per_example

MODEL = fnn.models.mlp(128, 10)
RATE, PIECES, EPOCHS = 0.1, 8, 3  # pieces of training, each of some epochs
ORANGE = fnn.plots.VALIDATION
SHOWN, COLUMNS = 4, (2, 3, 4, 5, 6, 8, 9, 10, 11, 12)  # of the picture


def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the cross-entropy of one example."""
    return fnn.losses.softmax_cross_entropy(MODEL(params, x), y)


def main(seed: int = 0, outputs: str = "outputs") -> dict[str, float]:
    """Return the share of wrong labels among as many digits, ranked first by each score."""
    split_key, flip_key, fit_key = jax.random.split(jax.random.key(seed), 3)
    data = fnn.data.digits()
    (x, true), test = fnn.data.split(data, (0.8, 0.2), key=split_key, stratify=data[1])
    y = with_wrong_labels(true, 0.05, flip_key)
    wrong = y != true
    checkpoints = train((x, y), fit_key)

    losses = [jax.vmap(loss, (None, 0, 0))(params, x, y) for params, _ in checkpoints]
    scores = {
        "self-influence": per_example.self_influence(loss, checkpoints, (x, y)),
        "mean loss over training": np.mean(losses, 0),
        "loss at the end": losses[-1],
    }
    print(f"{wrong.sum()} of {len(y)} training labels are wrong ({wrong.mean():.1%}).")
    print("The share of wrong labels among the digits that a score ranks first:")
    found = {}
    for name, score in scores.items():
        first = np.argsort(-np.asarray(score))[: wrong.sum()]
        found[name] = float(wrong[first].mean())
        print(f"    {name:24} {found[name]:6.1%}")

    logits = np.asarray(fnn.batched(MODEL)(checkpoints[-1][0], test[0]))
    mistakes = np.flatnonzero(logits.argmax(1) != test[1])
    worst = mistakes[np.argsort(-logits.max(1)[mistakes])][:SHOWN]
    asked = test[0][worst], test[1][worst]
    influence = per_example.tracin(loss, checkpoints, (x, y), asked)
    both = per_example.opponents(influence, 5), per_example.proponents(influence, 5)
    ranking = jax.tree.map(lambda *parts: np.hstack(parts), *both)
    print(f"{len(mistakes)} of {len(test[1])} test digits are read wrong.")
    draw(asked, logits.argmax(1)[worst], (x, y, true), ranking, Path(outputs))
    return found


def with_wrong_labels(labels: Any, share: float, key: jax.Array) -> Any:
    """Give a share of the labels, drawn at random, another class."""
    rows_key, shift_key = jax.random.split(key)
    drawn = jax.random.permutation(rows_key, len(labels)) < round(share * len(labels))
    shifts = jax.random.randint(shift_key, labels.shape, 1, 10)
    return np.where(drawn, (labels + shifts) % 10, labels)


def train(data: Any, key: jax.Array) -> list[tuple[Any, float]]:
    """Train in pieces; return parameters after each, and the rates they stand for."""
    checkpoints, params = [], None
    for piece in range(PIECES):
        params, _, _ = fnn.fit(
            MODEL,
            fnn.losses.softmax_cross_entropy,
            fnn.optimizers.SGD(RATE),
            data,
            key=jax.random.fold_in(key, piece),
            epochs=EPOCHS,
            batch_size=32,
            params=params,
            progress=False,
        )
        checkpoints.append((params, RATE * EPOCHS / 32))  # each epoch, a step of η / 32
    return checkpoints


def draw(asked: Any, guesses: Any, train: Any, ranking: Any, folder: Path) -> None:
    """Draw a row for each mistake: the digit, what made it, and what worked against it."""
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(SHOWN, 13, figsize=(12, 5.8), layout="constrained")
    x, y, true = train
    for row, guess in enumerate(guesses):
        show(axes[row, 0], asked[0][row], f"{asked[1][row]}, read as {guess}", "black")
        found = zip(ranking.examples[row], ranking.scores[row], strict=True)
        for column, (i, score) in zip(COLUMNS, found, strict=True):
            mark = f" (is {true[i]})" if y[i] != true[i] else ""
            text = f"“{y[i]}”{mark}\n{score:+.2f}"
            show(axes[row, column], x[i], text, ORANGE if mark else "black")
    for empty in axes[:, (1, 7)].flat:
        empty.remove()
    figure.suptitle("wrong labels in orange", color=ORANGE, size="medium")
    for place, text in (0.03, "misread"), (0.36, "made the mistake"), (0.81, "opposed it"):
        figure.text(place, 0.97, text, ha="center", weight="bold")
    figure.savefig(folder / "influence.png", dpi=100)
    plt.close(figure)
    print(f"wrote {folder / 'influence.png'}")


def show(axes: Any, image: Any, title: str, color: str) -> None:
    """Draw one digit."""
    axes.imshow(image[..., 0], cmap="gray_r")
    axes.set_title(title, fontsize=10, color=color)
    axes.axis("off")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(**vars(parser.parse_args()))
