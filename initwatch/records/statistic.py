"""The measured quantities by name, and what each of them is measured on."""

from enum import StrEnum


class Subject(StrEnum):
    """What one number of a statistic belongs to."""

    VARIABLE = "variable"
    LAYER = "layer"
    INPUT = "input"
    OUTPUT = "output"
    STEP = "step"


class Statistic(StrEnum):
    """Every quantity a history can hold. The value is the name used in tags and evidence.

    Subject, unit and definition of each stand in ``DEFINITIONS``.
    """

    WEIGHT_MEAN = "weight_mean"
    WEIGHT_STD = "weight_std"
    WEIGHT_RMS = "weight_rms"
    WEIGHT_MAX_ABS = "weight_max_abs"
    WEIGHT_ZERO_FRACTION = "weight_zero_fraction"
    WEIGHT_NON_FINITE = "weight_non_finite"
    WEIGHT_UNIT_SPREAD = "weight_unit_spread"
    GRADIENT_MEAN = "gradient_mean"
    GRADIENT_STD = "gradient_std"
    GRADIENT_RMS = "gradient_rms"
    GRADIENT_NORM = "gradient_norm"
    GRADIENT_MAX_ABS = "gradient_max_abs"
    GRADIENT_ZERO_FRACTION = "gradient_zero_fraction"
    GRADIENT_NON_FINITE = "gradient_non_finite"
    CLIPPED_NORM = "clipped_norm"
    UPDATE_RMS = "update_rms"
    UPDATE_RATIO = "update_ratio"
    UPDATE_DESCENT = "update_descent"
    ACTIVATION_MEAN = "activation_mean"
    ACTIVATION_STD = "activation_std"
    ACTIVATION_RMS = "activation_rms"
    ACTIVATION_ZERO_FRACTION = "activation_zero_fraction"
    ACTIVATION_NON_FINITE = "activation_non_finite"
    ACTIVATION_SLOPE = "activation_slope"
    ACTIVATION_SIMILARITY = "activation_similarity"
    DEAD_FRACTION = "dead_fraction"
    DELTA_RMS = "delta_rms"
    DELTA_NORM = "delta_norm"
    DELTA_NON_FINITE = "delta_non_finite"
    INPUT_MEAN = "input_mean"
    INPUT_STD = "input_std"
    INPUT_RMS = "input_rms"
    INPUT_MAX_ABS = "input_max_abs"
    INPUT_NON_FINITE = "input_non_finite"
    LABEL_MEAN = "label_mean"
    LABEL_STD = "label_std"
    LABEL_MIN = "label_min"
    LABEL_MAX = "label_max"
    LABEL_WHOLE_FRACTION = "label_whole_fraction"
    LABEL_OUT_OF_REACH = "label_out_of_reach"
    LABEL_NON_FINITE = "label_non_finite"
    LABELS_COUNTED = "labels_counted"
    PREDICTION_ERROR = "prediction_error"
    BASELINE_ERROR = "baseline_error"
    PREDICTION_COVARIANCE = "prediction_covariance"
    PREDICTION_VARIANCE = "prediction_variance"
    PREDICTION_SQUARE = "prediction_square"
    TARGET_VARIANCE = "target_variance"
    ALIGNED_ERROR = "aligned_error"
    CROSSED_ERROR = "crossed_error"
    PREDICTION_SUM_OFF = "prediction_sum_off"
    PREDICTION_OUTSIDE = "prediction_outside"
    LOSS = "loss"
    TRIVIAL_LOSS = "trivial_loss"
    PENALTY = "penalty"
    ERROR_RATE = "error_rate"
    TRIVIAL_ERROR_RATE = "trivial_error_rate"
    SKIPPED = "skipped"

    @property
    def subject(self) -> Subject:
        """What one number of this statistic belongs to."""
        return DEFINITIONS[self][0]

    @property
    def definition(self) -> str:
        """One line: formula and unit."""
        return DEFINITIONS[self][1]


_V, _L, _I, _S = Subject.VARIABLE, Subject.LAYER, Subject.INPUT, Subject.STEP
_O = Subject.OUTPUT

DEFINITIONS: dict[Statistic, tuple[Subject, str]] = {
    Statistic.WEIGHT_MEAN: (_V, "mean of the variable before the step"),
    Statistic.WEIGHT_STD: (_V, "standard deviation of the variable before the step"),
    Statistic.WEIGHT_RMS: (_V, "root mean square of the variable before the step"),
    Statistic.WEIGHT_MAX_ABS: (_V, "largest magnitude in the variable before the step"),
    Statistic.WEIGHT_ZERO_FRACTION: (_V, "share of elements that are exactly 0"),
    Statistic.WEIGHT_NON_FINITE: (_V, "number of elements that are NaN or infinite"),
    Statistic.WEIGHT_UNIT_SPREAD: (
        _V,
        "largest difference between the weights of two units over the largest weight; "
        "0 = all units of the kernel are the same",
    ),
    Statistic.GRADIENT_MEAN: (_V, "mean of dL/dw, loss scale divided out, before clipping"),
    Statistic.GRADIENT_STD: (_V, "standard deviation of dL/dw"),
    Statistic.GRADIENT_RMS: (_V, "root mean square of dL/dw"),
    Statistic.GRADIENT_NORM: (_V, "Euclidean norm of dL/dw"),
    Statistic.GRADIENT_MAX_ABS: (_V, "largest magnitude in dL/dw"),
    Statistic.GRADIENT_ZERO_FRACTION: (_V, "share of elements of dL/dw that are exactly 0"),
    Statistic.GRADIENT_NON_FINITE: (_V, "number of elements of dL/dw that are NaN or infinite"),
    Statistic.CLIPPED_NORM: (
        _V,
        "Euclidean norm of dL/dw as the optimizer's clipping leaves it; not measured without "
        "clipping, nor of gradients that are accumulated first",
    ),
    Statistic.UPDATE_RMS: (_V, "RMS(w_after - w_before): what the optimizer really did"),
    Statistic.UPDATE_RATIO: (
        _V,
        "RMS(w_after - w_before) / max(RMS(w_before), RMS(w) at the first step seen)",
    ),
    Statistic.UPDATE_DESCENT: (
        _V,
        "share of weights that are moved against their gradient, less the share moved along it; 1 "
        "= all go downhill (of the first 4096 weights)",
    ),
    Statistic.ACTIVATION_MEAN: (_L, "mean of the layer's output over batch and units"),
    Statistic.ACTIVATION_STD: (_L, "standard deviation of the layer's output"),
    Statistic.ACTIVATION_RMS: (_L, "root mean square of the layer's output"),
    Statistic.ACTIVATION_ZERO_FRACTION: (_L, "share of the layer's outputs that are exactly 0"),
    Statistic.ACTIVATION_NON_FINITE: (_L, "number of the layer's outputs that are not finite"),
    Statistic.ACTIVATION_SLOPE: (_L, "mean of phi'(z)^2 over batch and units"),
    Statistic.ACTIVATION_SIMILARITY: (
        _L,
        "mean cosine between the layer's outputs for the first 4 examples of the batch (of each "
        "replica's share of it); "
        "1 = they look all the same to what comes behind",
    ),
    Statistic.DEAD_FRACTION: (
        _L,
        "share of the layer's units that were positive for no example of any step looked at",
    ),
    Statistic.DELTA_RMS: (_L, "root mean square of dL/d(output), loss scale divided out"),
    Statistic.DELTA_NORM: (
        _L,
        "RMS(dL/d(output)) x sqrt(outputs per example): the backward signal, comparable "
        "between layers of different width",
    ),
    Statistic.DELTA_NON_FINITE: (_L, "number of elements of dL/d(output) that are not finite"),
    Statistic.INPUT_MEAN: (_I, "mean of one input of the model over the batch"),
    Statistic.INPUT_STD: (_I, "standard deviation of one input of the model"),
    Statistic.INPUT_RMS: (_I, "root mean square of one input of the model"),
    Statistic.INPUT_MAX_ABS: (_I, "largest magnitude in one input of the model"),
    Statistic.INPUT_NON_FINITE: (_I, "number of elements of one input that are NaN or infinite"),
    Statistic.LABEL_MEAN: (_S, "mean of the step's labels"),
    Statistic.LABEL_STD: (_S, "standard deviation of the step's labels"),
    Statistic.LABEL_MIN: (_S, "smallest label of the step"),
    Statistic.LABEL_MAX: (_S, "largest label of the step"),
    Statistic.LABEL_WHOLE_FRACTION: (_S, "share of labels that are whole numbers"),
    Statistic.LABEL_OUT_OF_REACH: (
        _S,
        "mean square distance of the labels from the range of the output's activation; 0 = all "
        "can be predicted",
    ),
    Statistic.LABEL_NON_FINITE: (_S, "number of labels that are NaN or infinite"),
    Statistic.LABELS_COUNTED: (_O, "labels of one output that count: no weight of 0, not masked"),
    Statistic.PREDICTION_ERROR: (
        _O,
        "of classes the share of wrong predictions of one output, else its mean squared error",
    ),
    Statistic.BASELINE_ERROR: (_O, "the same of the best constant prediction for these labels"),
    Statistic.PREDICTION_COVARIANCE: (
        _O,
        "covariance of predictions and labels over the batch, a mean over units; of classes the "
        "sum over units",
    ),
    Statistic.PREDICTION_VARIANCE: (_O, "variance of the predictions over the batch, likewise"),
    Statistic.PREDICTION_SQUARE: (_O, "mean square of the predictions, likewise"),
    Statistic.TARGET_VARIANCE: (_O, "variance of the labels over the batch, likewise"),
    Statistic.ALIGNED_ERROR: (
        _O,
        "mean squared error of predictions [n, 1] and labels [n], each against its own",
    ),
    Statistic.CROSSED_ERROR: (
        _O,
        "the same as [n, 1] and [n] broadcast: each prediction against all labels",
    ),
    Statistic.PREDICTION_SUM_OFF: (
        _O,
        "mean distance of the sum of a row of predicted probabilities from 1",
    ),
    Statistic.PREDICTION_OUTSIDE: (
        _O,
        "share of the predictions that are not between 0 and 1, under a loss of probabilities",
    ),
    Statistic.LOSS: (_S, "the step's own loss (not the running mean)"),
    Statistic.TRIVIAL_LOSS: (_S, "loss of the best constant prediction for the step's labels"),
    Statistic.PENALTY: (_S, "what regularizers and add_loss are of the step's loss"),
    Statistic.ERROR_RATE: (_S, "share of the step's labels that are predicted wrong"),
    Statistic.TRIVIAL_ERROR_RATE: (
        _S,
        "share of the step's labels that the best constant prediction gets wrong",
    ),
    Statistic.SKIPPED: (_S, "1 if loss scaling made the optimizer skip the step, else 0"),
}
