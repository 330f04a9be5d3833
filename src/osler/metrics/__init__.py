"""Numbers from arrays: each metric with its definition, its edge cases and its source.

What the cases cannot tell is None, and whoever averages says how many were left out.
"""

from osler.metrics.bootstrap import Interval, bootstrap_interval, bootstrap_mean
from osler.metrics.calibration import (
    Reliability,
    brier_score,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    top_label_calibration_error,
)
from osler.metrics.classification import (
    accuracy,
    auprc,
    auroc,
    balanced_accuracy,
    class_aurocs,
    confusion_matrix,
    macro_auroc,
    quadratic_kappa,
)
from osler.metrics.conformal import (
    conformal_quantile,
    conformal_set,
    mean_set_size,
    set_coverage,
)
from osler.metrics.ranking import area_under_roc, average_precision, interleave_tally, tally
from osler.metrics.segmentation import (
    cl_dice,
    dice,
    label_f1,
    macro_f1,
    pixel_auroc,
    pixel_average_precision,
    precision,
    sensitivity,
    specificity,
)
from osler.metrics.surfaces import (
    StructureScores,
    label_scores,
    structure_scores,
    surface,
    surface_distances,
)

__all__ = (
    "Interval",
    "Reliability",
    "StructureScores",
    "accuracy",
    "area_under_roc",
    "auprc",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "bootstrap_interval",
    "bootstrap_mean",
    "brier_score",
    "cl_dice",
    "class_aurocs",
    "conformal_quantile",
    "conformal_set",
    "confusion_matrix",
    "dice",
    "expected_calibration_error",
    "fit_platt",
    "fit_temperature",
    "interleave_tally",
    "label_f1",
    "label_scores",
    "macro_auroc",
    "macro_f1",
    "mean_set_size",
    "negative_log_likelihood",
    "pixel_auroc",
    "pixel_average_precision",
    "precision",
    "quadratic_kappa",
    "reliability",
    "sensitivity",
    "set_coverage",
    "specificity",
    "structure_scores",
    "surface",
    "surface_distances",
    "tally",
    "top_label_calibration_error",
)
