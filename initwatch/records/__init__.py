"""The words the rooms share: frozen values, no arithmetic."""

from initwatch.records.advice import Advice
from initwatch.records.comparison import Candidate, Comparison, Run
from initwatch.records.finding import Finding, Severity
from initwatch.records.history import History
from initwatch.records.layer import Activation, Kernel, LayerSpec, VariableSpec
from initwatch.records.output import Output
from initwatch.records.reinitialized import Reinitialized
from initwatch.records.report import Report
from initwatch.records.statistic import Statistic, Subject

__all__ = [
    "Activation",
    "Advice",
    "Candidate",
    "Comparison",
    "Finding",
    "History",
    "Kernel",
    "LayerSpec",
    "Output",
    "Reinitialized",
    "Report",
    "Run",
    "Severity",
    "Statistic",
    "Subject",
    "VariableSpec",
]
