"""Pictures of arrays, by matplotlib (extra `plots`); every function returns its axes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
