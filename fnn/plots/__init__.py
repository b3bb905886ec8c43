"""Pictures of arrays, drawn by matplotlib (extra `plots`).

Every function draws into the given axes, or into the current ones, and returns them. The
caller sets titles and limits and saves files. Colour-blind readers can tell the colours
apart, and they suit the axes' background, light or dark. `theme` sets one.
"""

from fnn.lazy import explain_missing as _explain_missing
from fnn.plots.classification import confusion_matrix as confusion_matrix
from fnn.plots.classification import decision_regions as decision_regions
from fnn.plots.curves import learning_curve as learning_curve
from fnn.plots.curves import learning_curves as learning_curves
from fnn.plots.curves import learning_rate_range as learning_rate_range
from fnn.plots.depth import histograms as histograms
from fnn.plots.depth import signals as signals
from fnn.plots.depth import signals_over_training as signals_over_training
from fnn.plots.functions import activation as activation
from fnn.plots.functions import schedules as schedules
from fnn.plots.images import feature_maps as feature_maps
from fnn.plots.images import filters as filters
from fnn.plots.images import influence as influence
from fnn.plots.images import misclassified as misclassified
from fnn.plots.landscapes import paths as paths
from fnn.plots.landscapes import surface as surface
from fnn.plots.palette import COLORS as COLORS
from fnn.plots.palette import TRAINING as TRAINING
from fnn.plots.palette import VALIDATION as VALIDATION
from fnn.plots.spread import band as band
from fnn.plots.spread import bars as bars
from fnn.plots.spread import gradient_norms as gradient_norms
from fnn.plots.themes import theme as theme
from fnn.plots.trials import heat_map as heat_map
from fnn.plots.trials import parallel_coordinates as parallel_coordinates

_explain_missing(__name__)
