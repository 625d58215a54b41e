"""The figures of a report: each a drawing, the numbers that it shows, and its words."""

from encore.report.figures.calibration import reliability_diagram
from encore.report.figures.comparison import forest, seeds, sizes
from encore.report.figures.cost import VariantCost, score_by_cost
from encore.report.figures.coverage import coverage_curve
from encore.report.figures.epochs import TaskCurves, epochs_of_tasks
from encore.report.figures.errors import confusion_matrix, distances, scatter
from encore.report.figures.figure import Figure
from encore.report.figures.learning import LearningCurvePoint, learning
from encore.report.figures.scores import RowBin, RowMeasure, by_bins, estimates
from encore.report.figures.sequences import sequence_matrices
from encore.report.figures.tasks import gain_by_rows, scores_of_tasks

__all__ = [
    "LearningCurvePoint",
    "Figure",
    "RowBin",
    "RowMeasure",
    "TaskCurves",
    "VariantCost",
    "by_bins",
    "confusion_matrix",
    "coverage_curve",
    "distances",
    "epochs_of_tasks",
    "estimates",
    "forest",
    "gain_by_rows",
    "learning",
    "reliability_diagram",
    "scatter",
    "score_by_cost",
    "seeds",
    "sequence_matrices",
    "sizes",
    "scores_of_tasks",
]
