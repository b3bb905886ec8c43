"""Diagnosis of a network: its signals, its faults, and remedies.

Results are frozen values that hold arrays and print as tables; on a terminal,
`rich.print(report)` highlights faults.
"""

from fnn.diagnostics.finite_differences import GradientCheck as GradientCheck
from fnn.diagnostics.finite_differences import LeafCheck as LeafCheck
from fnn.diagnostics.finite_differences import gradient_check as gradient_check
from fnn.diagnostics.generalization import BiasVariance as BiasVariance
from fnn.diagnostics.generalization import bias_variance as bias_variance
from fnn.diagnostics.landscape import LossSlice as LossSlice
from fnn.diagnostics.landscape import loss_slice as loss_slice
from fnn.diagnostics.rates import LearningRateRange as LearningRateRange
from fnn.diagnostics.rates import learning_rate_range as learning_rate_range
from fnn.diagnostics.reports import SignalReport as SignalReport
from fnn.diagnostics.reports import signal_report as signal_report
from fnn.diagnostics.verdicts import Fault as Fault
from fnn.lazy import explain_missing as _explain_missing

_explain_missing(__name__)
