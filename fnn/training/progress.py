"""The bar or the lines that `fit` prints while it runs."""

import sys
from types import TracebackType
from typing import Any, Protocol


class Display(Protocol):
    """A context manager that shows how far training has come."""

    def __enter__(self) -> "Display": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def advance(self, epoch: int, batches: int, figures: dict[str, float]) -> None:
        """Show that this number of batches of an epoch, counted from 0, is done.

        `figures` are means over the examples of the epoch so far.
        """

    def epoch(self, epoch: int, row: dict[str, float], examples: float) -> None:
        """Show that an epoch is over, its figures, and its speed for this many examples."""

    def say(self, message: str) -> None:
        """Print a line."""


def make_display(
    progress: bool, epochs: int, batches: int | None, *, unit: str = "epoch"
) -> Display:
    """Return a bar on a terminal if `rich` is installed, else plain lines.

    Args:
        progress: Whether to show anything.
        epochs: The number of epochs.
        batches: The number of batches in an epoch, if it is known.
        unit: The word for what is counted, if not epochs.
    """
    if not progress:
        return _Silent()
    try:
        from rich.console import Console
    except ImportError:
        return _Lines(epochs, unit)
    console = Console()
    if console.is_terminal or console.is_jupyter:
        return _Bar(console, epochs, batches, unit)
    return _Lines(epochs, unit)


def format_row(row: dict[str, float]) -> str:
    """Return metrics as one line, with rates in scientific notation, without `seconds`.

    Example:
        >>> format_row({"loss": 0.12345, "learning_rate": 0.001, "seconds": 1.0})
        'loss 0.1235  learning_rate 1.0e-03'
    """

    def shown(name: str, value: float) -> str:
        if isinstance(value, int):
            return f"{name} {value}"
        form = ".1e" if name.startswith("learning_rate") else ".4f"
        return f"{name} {value:{form}}"

    return "  ".join(shown(*item) for item in row.items() if item[0] != "seconds")


def format_speed(row: dict[str, float], examples: float) -> str:
    """Return the time that an epoch took, and its examples per second.

    Example:
        >>> format_speed({"loss": 0.5, "seconds": 2.0}, 60_000)
        '2.00 s  30,000 examples/s'
    """
    return f"{row['seconds']:.2f} s  {examples / row['seconds']:,.0f} examples/s"


class _Silent:
    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def advance(self, epoch: int, batches: int, figures: dict[str, float]) -> None:
        pass

    def epoch(self, epoch: int, row: dict[str, float], examples: float) -> None:
        pass

    def say(self, message: str) -> None:
        pass


class _Lines(_Silent):
    """One line for each epoch."""

    def __init__(self, epochs: int, unit: str = "epoch") -> None:
        self.epochs, self.unit = epochs, unit

    def epoch(self, epoch: int, row: dict[str, float], examples: float) -> None:
        speed = format_speed(row, examples)
        self.say(f"{self.unit} {epoch + 1}/{self.epochs}  {format_row(row)}  {speed}")

    def say(self, message: str) -> None:
        print(message, file=sys.stdout, flush=True)


class _Bar(_Silent):
    """A bar over all epochs, and the latest figures on a line below."""

    def __init__(
        self, console: Any, epochs: int, batches: int | None, unit: str = "epoch"
    ) -> None:
        from rich import progress
        from rich.live import Live

        self.batches = batches
        self.bar = progress.Progress(
            progress.TextColumn(unit),
            progress.MofNCompleteColumn(),
            progress.BarColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
        )
        self.task = self.bar.add_task("", total=epochs)
        self.live = Live(self._view("compiling"), console=console)

    def _view(self, figures: str) -> Any:
        from rich.console import Group

        return Group(self.bar, figures)

    def __enter__(self) -> "_Bar":
        self.live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.live.stop()

    def advance(self, epoch: int, batches: int, figures: dict[str, float]) -> None:
        done = batches / self.batches if self.batches else 0
        self.bar.update(self.task, completed=epoch + done)
        of = f"/{self.batches}" if self.batches else ""
        self.live.update(self._view(f"step {batches}{of}  {format_row(figures)}"))

    def epoch(self, epoch: int, row: dict[str, float], examples: float) -> None:
        self.bar.update(self.task, completed=epoch + 1)
        self.live.update(self._view(f"{format_row(row)}  {format_speed(row, examples)}"))

    def say(self, message: str) -> None:
        self.live.console.print(message)
