"""Twins of the healthy trainings, with exactly one fault planted in each."""

import numpy as np
from keras import initializers, losses, ops, regularizers
from keras.optimizers import schedules

from tests.bench.zoo.cases import Sick
from tests.bench.zoo.healthy import HEALTHY

SICK = {}

# What else is right to say of a fault, by kind: one cause shows in several ways.
SHRINKS = "initializer_mismatch vanishing_gradient vanishing_signal"
GROWS = "initializer_mismatch exploding_signal exploding_gradient"
RUNS_AWAY = "diverging_loss oscillating_loss update_too_large non_finite"
STANDS_STILL = "update_too_small unchanged_weights"


def sick(name, twin, planted, cause, also="", layers="", initialisation=False, **changed):
    """``planted``, ``also`` and ``layers`` are words; the rest is what ``Training.but`` takes."""
    assert name not in SICK | HEALTHY, name
    SICK[name] = Sick(
        name=name,
        twin=twin,
        training=HEALTHY[twin].training.but(**changed),
        planted=planted,
        symptoms=frozenset({planted, *also.split()}),
        layers=frozenset(layers.split()),
        initialisation=initialisation,
        cause=cause,
    )


def drawn(name, twin, planted, init, cause, also="", layers="hidden_*", only="", **options):
    """A fault of initialisation: of all kernels, or ``only`` of one layer."""
    where = (
        {"changes": {only: {"kernel_initializer": init}}} if only else {"options": {"init": init}}
    )
    sick(name, twin, planted, cause, also, only or layers, initialisation=True, **where, **options)


def normal(deviation):
    return initializers.RandomNormal(stddev=deviation)


def constant(value):
    return initializers.Constant(value)


def part(name, twin, planted, layer, cause, also="", initialisation=False, layers="", **change):
    """A fault of one layer: its options replaced by ``change``."""
    changes = {layer: change}
    sick(name, twin, planted, cause, also, layers or layer, initialisation, changes=changes)


# A case is a row of a table; the formatter would make towers of them.
# fmt: off

# ---------------------------------------------------------------- initializers of a whole network
drawn("relu_20_glorot", "relu_he_20", "initializer_mismatch", "glorot_uniform",
    "Glorot under ReLU, 20 layers", SHRINKS)
drawn("leaky_20_lecun", "leaky_20_sgd", "initializer_mismatch", "lecun_uniform",
    "LeCun under LeakyReLU, 20 layers", SHRINKS)
drawn("gelu_12_05", "gelu_12", "initializer_mismatch", normal(0.05),
    "normal of deviation 0.05 under GELU, 12 layers", SHRINKS)
drawn("selu_20_he", "selu_20_sgd", "initializer_mismatch", "he_normal", "He under SELU, 20 layers",
    GROWS)
drawn("tanh_20_05", "tanh_20", "initializer_mismatch", normal(0.05),
    "normal of deviation 0.05 under tanh, 20 layers", SHRINKS)
drawn("relu_8_02", "relu_he_8", "initializer_mismatch", normal(0.02),
    "normal of deviation 0.02 under ReLU, 8 layers", SHRINKS)
drawn("cnn_10_03", "cnn_10", "initializer_mismatch", normal(0.03),
    "normal of deviation 0.03 in ten convolutions", SHRINKS, "conv_*")
drawn("relu_20_tiny", "relu_he_20", "vanishing_signal", normal(0.01),
    "normal of deviation 0.01 under ReLU, 20 layers", SHRINKS)
drawn("cnn_10_tiny", "cnn_10", "vanishing_signal", normal(0.01),
    "normal of deviation 0.01 in ten convolutions", SHRINKS, "conv_*")
drawn("elu_6_tiny", "elu_6", "vanishing_signal", normal(0.001),
    "normal of deviation 0.001 under ELU, 6 layers", SHRINKS)
drawn("relu_8_normal_1", "relu_he_8", "exploding_signal", normal(1.0),
    "normal of deviation 1 under ReLU, 8 layers", GROWS)
drawn("elu_6_orthogonal_4", "elu_6", "exploding_signal", initializers.Orthogonal(gain=4.0),
    "orthogonal with gain 4 under ELU, 6 layers", GROWS)
drawn("cnn_10_half", "cnn_10", "exploding_signal", normal(0.5),
    "normal of deviation 0.5 in ten convolutions", GROWS, "conv_*")
drawn("leaky_20_wide", "leaky_20", "exploding_signal", normal(0.4),
    "normal of deviation 0.4 under LeakyReLU, 20 layers", GROWS)
drawn("relu_8_ones", "relu_he_8", "exploding_signal", "ones", "all weights are one",
    GROWS + " symmetric_units")
drawn("tanh_20_chaos", "tanh_20", "exploding_gradient", initializers.Orthogonal(gain=3.0),
    "orthogonal with gain 3 under tanh: a chaotic network", GROWS + " saturated_activation")
drawn("leaky_8_gain", "leaky_8", "exploding_gradient", initializers.VarianceScaling(40.0),
    "variance 20 times that of He under LeakyReLU", GROWS)
drawn("selu_20_gain", "selu_20", "exploding_gradient", initializers.VarianceScaling(5.0),
    "variance 5 times that of LeCun under SELU, 20 layers", GROWS)
drawn("tanh_8_wide", "tanh_8", "saturated_activation", normal(2.0),
    "normal of deviation 2 under tanh, 8 layers", GROWS)
drawn("relu_zeros", "relu_he", "symmetric_units", "zeros", "all weights are zero",
    "initializer_mismatch zero_gradient vanishing_signal dead_relu")
drawn("relu_constant", "relu_he", "symmetric_units", constant(0.1), "all weights are 0.1",
    "initializer_mismatch")
drawn("tags_constant", "tags", "symmetric_units", constant(0.05), "all weights are 0.05",
    "initializer_mismatch")
drawn("cnn_10_gain", "cnn_10", "exploding_gradient", initializers.VarianceScaling(40.0),
    "variance 20 times that of He in ten convolutions", GROWS, "conv_*")
drawn("cnn_ones", "cnn", "symmetric_units", "ones", "all weights of the convolutions are one",
    GROWS, "conv_*")
drawn("gan_zeros", "gan", "symmetric_units", "zeros", "all hidden weights of a generator are zero",
    "initializer_mismatch zero_gradient dead_relu vanishing_signal")
drawn("sgd_tiny_init", "clipped", "vanishing_gradient", normal(1e-4),
    "normal of deviation 0.0001 under ReLU, in a shallow network",
    SHRINKS + " dead_relu")

# ---------------------------------------------------------------- initializers of one layer
drawn("middle_zero", "relu_he_8", "symmetric_units", "zeros", "the fourth of 8 layers is zero",
    "initializer_mismatch zero_gradient dead_relu vanishing_signal", only="hidden_4")
drawn("middle_constant", "tanh_8", "symmetric_units", constant(0.3),
    "the third and fourth of 8 layers are constant", "initializer_mismatch", only="hidden_[34]")
drawn("code_constant", "autoencoder", "symmetric_units", constant(0.1),
    "code and decoder are constant", "initializer_mismatch", only="[cd]*")
drawn("two_tiny", "tanh_8_sgd", "vanishing_signal", normal(1e-5),
    "the third and sixth of 8 layers are next to zero", SHRINKS, only="hidden_[36]")
drawn("middle_huge", "relu_he_8", "exploding_signal", normal(30.0),
    "the fourth of 8 layers is 170 times too large", GROWS, only="hidden_4")
drawn("tied_wide", "shared", "saturated_activation", normal(3.0),
    "a layer used four times is drawn far too wide", GROWS, only="tied")
drawn("all_negative", "default_4", "dead_relu", initializers.RandomUniform(-0.3, 0.0),
    "no weight of the second layer is positive, nor any input of it negative",
    "initializer_mismatch zero_gradient", only="hidden_2")
part("depthwise_he", "depthwise_plain", "vanishing_signal", "deep_*",
    "he_normal of a depthwise kernel counts the channels in its fan: too small", SHRINKS, True,
    depthwise_initializer="he_normal")
part("depthwise_tiny", "depthwise_plain", "vanishing_signal", "deep_*",
    "normal of deviation 0.01 in the depthwise kernels", SHRINKS, True,
    depthwise_initializer=normal(0.01))
part("lstm_constant", "lstm", "symmetric_units", "cell_*", "all units of the LSTM are the same",
    "initializer_mismatch", True, kernel_initializer=constant(0.1),
    recurrent_initializer=constant(0.1))
part("rnn_gain", "rnn", "exploding_gradient", "cell_*",
    "orthogonal with gain 3 in the recurrent kernels, 80 time steps",
    "initializer_mismatch saturated_activation", True,
    recurrent_initializer=initializers.Orthogonal(gain=3.0))
part("rnn_normal_1", "rnn", "exploding_gradient", "cell_1",
    "normal of deviation 1 in the first recurrent kernel, 80 time steps",
    "initializer_mismatch saturated_activation", True, recurrent_initializer=normal(1.0))
part("gru_normal_1", "long_gru", "exploding_gradient", "cell_*",
    "normal of deviation 1 in the recurrent kernels of GRUs, 80 time steps",
    "initializer_mismatch saturated_activation", True, recurrent_initializer=normal(1.0))
part("bias_negative", "relu_he", "dead_relu", "hidden_2", "biases start at -20", "zero_gradient",
    True, bias_initializer=constant(-20))
part("cnn_bias_negative", "cnn", "dead_relu", "conv_2", "biases start at -10", "zero_gradient",
    True, bias_initializer=constant(-10))
part("decoder_bias_negative", "autoencoder", "dead_relu", "decoder", "biases start at -20",
    "zero_gradient", True, bias_initializer=constant(-20))
part("unet_bias_negative", "unet", "dead_relu", "up_1", "biases start at -30", "zero_gradient",
    True, bias_initializer=constant(-30))
part("sigmoid_bias", "sigmoid_shallow", "saturated_activation", "hidden_1", "biases start at 30",
    "vanishing_gradient", True, bias_initializer=constant(30))
part("gru_constant", "gru", "symmetric_units", "cell_*", "all units of the GRU are the same",
    "initializer_mismatch", True, kernel_initializer=constant(0.1),
    recurrent_initializer=constant(0.1))
part("tanh_bias", "tanh", "saturated_activation", "hidden_2", "biases start at 10",
    "vanishing_gradient", True, bias_initializer=constant(10))

# ---------------------------------------------------------------- activations
sick("sigmoid_8", "tanh_8", "vanishing_gradient", "sigmoid in 8 hidden layers",
    "initializer_mismatch vanishing_signal", "hidden_*", options={"activation": "sigmoid"})
sick("sigmoid_20", "tanh_20", "vanishing_gradient", "sigmoid in 20 hidden layers",
    "initializer_mismatch vanishing_signal", "hidden_*", options={"activation": "sigmoid"})
sick("sigmoid_cnn", "cnn_10", "vanishing_gradient", "sigmoid in ten convolutions",
    "initializer_mismatch vanishing_signal", "conv_*", options={"activation": "sigmoid"})
sick("exponential", "relu_he_8", "non_finite", "an exponential in each of 8 layers", GROWS,
    "hidden_*", options={"activation": "exponential"})
part("square_root", "relu_he", "non_finite", "hidden_2",
    "square root of a ReLU's output: infinite slope at zero", "exploding_gradient",
    layers="hidden_*", then=ops.sqrt)

# ---------------------------------------------------------------- cut off from the loss
part("cut_code", "autoencoder", "zero_gradient", "code", "stop_gradient behind the code",
    "unchanged_weights", layers="encoder code", then=ops.stop_gradient)
part("cut_cell", "lstm", "zero_gradient", "cell_2", "stop_gradient behind the last LSTM",
    "unchanged_weights", layers="cell_*", then=ops.stop_gradient)
part("rounded", "cnn", "zero_gradient", "hidden", "output of the hidden layer rounded",
    "unchanged_weights", layers="conv_* hidden", then=ops.round)
part("sign", "regression", "zero_gradient", "hidden_3", "sign of a layer's output",
    "unchanged_weights dead_relu", layers="hidden_*", then=ops.sign)
part("hard_choice", "transformer", "zero_gradient", "norm", "one-hot of an argmax",
    "unchanged_weights", layers="tokens norm* attention_* query key value wide_* narrow_*",
    then=lambda x: ops.one_hot(ops.argmax(x, axis=-1), x.shape[-1]))
part("thresholded", "binary", "zero_gradient", "hidden_3", "layer's output compared with a limit",
    "unchanged_weights", layers="hidden_*", then=lambda x: ops.cast(x > 3.0, "float32"))


# ---------------------------------------------------------------- rows
def with_nan(values):
    return np.where(np.arange(len(values))[:, None] == 7, np.nan, values).astype("float32")


def one_large_column(x):
    return x * np.where(np.arange(x.shape[-1]) == 3, 1e4, 1.0).astype("float32")


def constant_column(x):
    """Standardising a column that never varies divides by zero."""
    deviation = np.where(np.arange(x.shape[-1]) == 3, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (x / deviation).astype("float32")


def times(factor):
    return lambda x: (x * factor).astype("float32")


def plus(offset):
    return lambda x: (x + offset).astype(x.dtype)


def shuffled(y):
    return np.random.default_rng(0).permutation(y)


sick("nan_input", "regression", "non_finite", "a NaN in the inputs", inputs=with_nan)
sick("nan_target", "regression_huber", "non_finite", "a NaN in the targets", targets=with_nan)
sick("constant_column", "tags", "non_finite", "a column divided by its deviation, zero",
    inputs=constant_column)
sick("classes_from_1", "default_2", "non_finite", "classes counted from 1", "output_loss_mismatch",
    targets=plus(1), compile={"jit_compile": True})
sick("half_overflow", "half", "non_finite", "inputs of size 1e5 in float16", "unscaled_input",
    inputs=times(1e5))
sick("large_column", "regression", "unscaled_input", "one of 12 columns is of size 1e4", RUNS_AWAY,
    inputs=one_large_column)
sick("large_column_sgd", "regression_sgd", "unscaled_input", "one of 12 columns is of size 1e4",
    RUNS_AWAY + " dead_relu", inputs=one_large_column)
sick("years", "binary", "unscaled_input", "columns lie around 2000, as years do", RUNS_AWAY,
    inputs=plus(2000))
sick("bytes_sgd", "sgd", "unscaled_input", "inputs 255 times too large", RUNS_AWAY + " dead_relu",
    inputs=times(255))
sick("bytes_cnn", "cnn_sgd", "unscaled_input", "pixels from 0 to 255", RUNS_AWAY + " dead_relu",
    inputs=times(255))
sick("offset_lstm", "lstm", "unscaled_input", "inputs lie around 100", "saturated_activation",
    inputs=plus(100))
sick("offset_tanh", "tanh", "unscaled_input", "inputs lie around 100", "saturated_activation",
    inputs=plus(100))
sick("large_column_tags", "tags", "unscaled_input", "one of 12 columns is of size 1e4", RUNS_AWAY,
    inputs=one_large_column)
sick("no_input", "relu_he", "stalled_loss", "preprocessing makes every input zero",
    "zero_gradient dead_relu vanishing_signal", inputs=times(0))
sick("one_token", "text", "stalled_loss", "every word is out of the vocabulary",
    inputs=lambda x: np.minimum(x, 1))
# long enough to stand still; a network that learns such rows by heart trains well, and what
# that is worth only held-out rows tell
sick("shuffled_waves", "gru", "stalled_loss", "labels of other rows", targets=shuffled, epochs=8)
sick("shuffled_masks", "unet", "stalled_loss", "masks of other images", targets=shuffled,
    epochs=16)


# ---------------------------------------------------------------- output and loss
def log_error(y, predicted):
    return ops.mean(ops.square(ops.log(y) - ops.log(predicted)))


def plain_entropy(y, predicted):
    """Cross-entropy with nothing that keeps the logarithm from zero."""
    return -ops.mean(y * ops.log(predicted) + (1 - y) * ops.log(1 - predicted))


def misfit(name, twin, cause, also="", **changed):
    sick(name, twin, "output_loss_mismatch", cause, also, "output", **changed)


def output(**change):
    return {"output": change}


sick("log_of_negative", "prices", "non_finite", "logarithm of outputs that may be negative",
    "output_loss_mismatch", loss=log_error)
sick("log_of_zero", "binary_hard", "non_finite", "logarithm of zero: no epsilon in the loss",
    "output_loss_mismatch", loss=plain_entropy)
misfit("softmax_one_unit", "binary", "softmax on one unit", "zero_gradient stalled_loss",
    changes=output(activation="softmax"))
misfit("softmax_one_unit_mse", "binary_mse", "softmax on one unit", "zero_gradient stalled_loss",
    changes=output(activation="softmax"))
misfit("logits_as_probabilities", "rare_class_logits", "linear output, from_logits forgotten",
    "zero_gradient", loss="binary_crossentropy")
misfit("classes_linear", "sgd", "linear output under cross-entropy of probabilities",
    RUNS_AWAY + " stalled_loss", changes=output(activation="linear"))
misfit("classes_linear_cnn", "cnn", "linear output under cross-entropy of probabilities",
    RUNS_AWAY + " stalled_loss", changes=output(activation="linear"))
misfit("softmax_twice", "softmax_apart", "from_logits=True behind a softmax",
    loss=losses.SparseCategoricalCrossentropy(from_logits=True))
misfit("relu_classes", "relu_he", "ReLU output under cross-entropy of probabilities",
    "dead_relu stalled_loss", changes=output(activation="relu"))
misfit("plus_minus_one", "rare_class", "labels -1 and 1 under binary cross-entropy", RUNS_AWAY,
    targets=lambda y: 2 * y - 1)
misfit("relu_output", "regression", "ReLU output, targets of both signs", "dead_relu",
    changes=output(activation="relu"))
misfit("sigmoid_output", "regression_huber", "sigmoid output, targets of both signs",
    changes=output(activation="sigmoid"))
misfit("tanh_output", "prices", "tanh output, targets around 20",
    "saturated_activation zero_gradient stalled_loss",
    changes=output(activation="tanh"))
misfit("relu_pixels", "autoencoder", "ReLU output, standardised pixels", "dead_relu",
    changes=output(activation="relu"))
misfit("softmax_tags", "tags", "softmax over labels that are independent",
    changes=output(activation="softmax"))
misfit("one_and_two", "binary", "labels 1 and 2 under binary cross-entropy", RUNS_AWAY,
    targets=plus(1))

# ---------------------------------------------------------------- steps too large
sick("sgd_runs_away", "regression_sgd", "diverging_loss", "learning rate 1000 times too large",
    RUNS_AWAY + " dead_relu exploding_signal", rate=30.0)
sick("ascent", "regression", "diverging_loss", "climbs the loss: sign of the rate", RUNS_AWAY,
    rate=-3e-3)
sick("ascent_classes", "default_2", "diverging_loss", "climbs the loss: sign of the rate",
    RUNS_AWAY, rate=-1e-3)
sick("prices_run_away", "autoencoder", "diverging_loss", "learning rate 300 times too large",
    RUNS_AWAY + " dead_relu exploding_signal", rate=1.0)
sick("momentum_runs_away", "momentum", "diverging_loss", "learning rate 100 times too large",
    RUNS_AWAY + " dead_relu exploding_signal", rate=3.0)
sick("tanh_oscillates", "tanh", "oscillating_loss", "learning rate 300 times too large",
    RUNS_AWAY + " saturated_activation", rate=0.3)
sick("full_batch_oscillates", "large_batch", "oscillating_loss", "rate 300 times too large",
    RUNS_AWAY + " dead_relu", rate=1.0)
sick("gru_oscillates", "gru", "oscillating_loss", "learning rate 100 times too large",
    RUNS_AWAY + " saturated_activation", rate=0.5)
sick("cnn_oscillates", "cnn_norm", "oscillating_loss", "learning rate 1000 times too large",
    RUNS_AWAY + " dead_relu", rate=1.0)
sick("lion_leaps", "lion", "update_too_large", "Lion at 0.1",
    RUNS_AWAY + " dead_relu exploding_signal", rate=0.1)
sick("transformer_leaps", "transformer", "update_too_large", "Adam at 0.5", RUNS_AWAY, rate=0.5)
sick("rmsprop_leaps", "rmsprop", "update_too_large", "RMSprop at 1",
    RUNS_AWAY + " dead_relu exploding_signal", rate=1.0)
sick("decay_eats_weights", "adamw", "update_too_large", "weight decay of 200",
    "vanishing_signal stalled_loss vanishing_gradient", settings={"weight_decay": 200.0})
sick("penalty_eats_weights", "l2", "stalled_loss", "L2 penalty of 10 instead of 0.01",
    "update_too_large vanishing_signal vanishing_gradient dead_relu",
    options={"kernel_regularizer": regularizers.L2(10.0)}, epochs=12)


# ---------------------------------------------------------------- steps too small
def gone_at_once():
    return schedules.ExponentialDecay(3e-3, decay_steps=1, decay_rate=0.5)


def never_warm():
    """Warm-up over as many epochs as was meant in steps."""
    return schedules.CosineDecay(0.0, 10**7, warmup_target=3e-3, warmup_steps=10**6)


def thousandth(y, predicted):
    return 1e-6 * losses.mean_squared_error(y, predicted)


sick("adam_tiny", "default_2", "update_too_small", "learning rate 1e4 times too small",
    "stalled_loss " + STANDS_STILL, rate=1e-7)
sick("sgd_tiny", "sgd", "update_too_small", "learning rate 1e4 times too small",
    "stalled_loss " + STANDS_STILL, rate=1e-5)
sick("lstm_tiny", "lstm", "update_too_small", "learning rate 1e4 times too small",
    "stalled_loss " + STANDS_STILL, rate=5e-7, epochs=8)
sick("cnn_tiny_rate", "cnn", "update_too_small", "learning rate 1e4 times too small",
    "stalled_loss " + STANDS_STILL, rate=1e-7)
sick("clipped_to_nothing", "clipped", "update_too_small", "clipped to a norm of 1e-5",
    "stalled_loss " + STANDS_STILL, settings={"global_clipnorm": 1e-5})
sick("huge_epsilon", "relu_he", "update_too_small", "Adam's epsilon is 1e4",
    "stalled_loss " + STANDS_STILL, settings={"epsilon": 1e4})
sick("gone_at_once", "staircase", "update_too_small", "learning rate halved at each step",
    "stalled_loss " + STANDS_STILL, rate=gone_at_once)
sick("never_warm", "warm_up", "update_too_small", "warm-up of a million steps",
    "stalled_loss " + STANDS_STILL, rate=never_warm)
sick("small_loss", "regression_sgd", "update_too_small", "loss divided by a million under SGD",
    "stalled_loss " + STANDS_STILL, loss=thousandth)
sick("rate_zero", "default_2", "unchanged_weights", "learning rate 0",
    "stalled_loss " + STANDS_STILL, rate=0.0)
sick("transformer_rate_zero", "transformer", "unchanged_weights", "learning rate 0",
    "stalled_loss " + STANDS_STILL, rate=0.0)
sick("clipped_to_zero", "cnn_sgd", "unchanged_weights", "gradients clipped to 1e-12",
    "stalled_loss " + STANDS_STILL, settings={"clipvalue": 1e-12})
sick("below_resolution", "clipped", "unchanged_weights", "clipped to a norm of 1e-12",
    "stalled_loss " + STANDS_STILL, settings={"global_clipnorm": 1e-12})
sick("sign_in_loss", "regression", "zero_gradient", "loss of the prediction's sign",
    "stalled_loss " + STANDS_STILL, loss=lambda y, p: ops.mean(ops.square(y - ops.sign(p))))
