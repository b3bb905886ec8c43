"""Shortcuts and depth: plain and residual networks of 8, 20 and 44 layers.

    python examples/residual.py

All are `fnn.models.resnet_cifar(depth)` with batch normalization, the same training and,
at each depth, the same initial values; half have residual connections, the others are
plain. Deeper plain networks have a larger training error: they are harder to train, as more
layers can't be worse for what a network is able to express. With shortcuts, depth does no
harm. Draws training and test error over the epochs into the folder `outputs`.

Source: He et al. 2016, "Deep residual learning for image recognition", figure 6.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import jax
import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

import fnn
from fnn.training import History

NETWORKS = {"plain": False, "residual": True}


def main(
    depths: tuple[int, ...] = (8, 20, 44),
    epochs: int = 12,
    seed: int = 0,
    outputs: str = "outputs",
) -> dict[str, dict[int, History]]:
    """Return the history of each kind of network, by its depth."""
    split_key, fit_key = jax.random.split(jax.random.key(seed))
    images, labels = fnn.data.digits()
    train, test = fnn.data.split(
        (images, labels), (0.8, 0.2), key=split_key, stratify=labels
    )
    histories: dict[str, dict[int, History]] = {}
    for name, residual in NETWORKS.items():
        histories[name] = {}
        for depth in depths:
            print(f"{depth} layers, {name}")
            _, _, histories[name][depth] = fnn.fit(
                fnn.models.resnet_cifar(depth, residual=residual, shortcut="padded"),
                fnn.losses.softmax_cross_entropy,
                fnn.optimizers.Momentum(0.05),
                train,
                key=jax.random.fold_in(fit_key, 0),  # the same for all
                epochs=epochs,
                batch_size=64,
                validation=test,
                metrics={"error": fnn.losses.misclassification},
            )
    print("                    training loss   training error   test error")
    for name, by_depth in histories.items():
        for depth, history in by_depth.items():
            loss, error, unseen = (
                history[key][-1] for key in ("loss", "error", "val_error")
            )
            row = f"{loss:13.3f}   {error:14.1%}   {unseen:10.1%}"
            print(f"{name:9} {depth:2} layers   {row}")
    draw(histories, Path(outputs))
    return histories


def draw(histories: Mapping[str, Mapping[int, History]], folder: Path) -> None:
    """Draw the errors of plain networks beside those of residual ones."""
    folder.mkdir(parents=True, exist_ok=True)
    with fnn.plots.theme("light"):
        figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
        for axes, (name, by_depth) in zip(panels, histories.items(), strict=True):
            for i, (depth, history) in enumerate(by_depth.items()):
                color = fnn.plots.COLORS[i]
                epochs = range(1, len(history["error"]) + 1)
                axes.plot(epochs, history["val_error"], ":", color=color, linewidth=1)
                axes.plot(epochs, history["error"], color=color, label=f"{depth} layers")
            axes.set(title=f"{name} networks", xlabel="epoch", ylim=(0, 0.95))
            axes.grid()
        panels[0].set_ylabel("error")
        panels[1].legend(title="training error (dotted: test error)")
        panels[0].yaxis.set_major_formatter(PercentFormatter(1))
        figure.savefig(folder / "residual.png", dpi=115)
        plt.close(figure)
    print(f"wrote {folder / 'residual.png'}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
