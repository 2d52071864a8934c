"""Which operator is applied to which program: fixed lists, of pairs to tune on and others.

Rules may be tuned on ``TUNE``; what they are worth is told by ``HELD``, drawn later and of which
none was looked at before its figures were written down. Once rules are tuned on what these miss,
they belong to ``TUNE``, and others are drawn with ``propose``.
"""

import hashlib
from typing import Any

from tests.bench.programs.truth import known

SLOWEST = 4.0  # seconds of a core that a training may take

# a program, and the operators applied to it; lines further in go on
TUNE = """
anomalies constant_0.1 loss_mape loss_signed targets_x1000 uniform_0_1 weights_x10
autoencoder_then_classes bias_-10 head_zeros inputs_columns labels_negative logits_missed
    orthogonal_0.1 sound_inputs_x1.5 sound_leaky_relu
bag_of_words all_frozen loss_mae orthogonal_3 rate_0 row_weights_0 tokens_unknown
class_weight activity_l1 bias_normal_5 dropout_0.95 inputs_by_255 loss_clipped rate_x1000
    uniform_0_1
convnet_batchnorm inputs_by_1e5 l2_0.1 loss_mse loss_negated normal_1 slow_averages
    sound_batch_x2
convnet_logits exponential frozen_large frozen_tiny inputs_outliers lecun_under_relu softmax
    sound_dropout sound_silu
convnet_only_convolutions l1_0.1 labels_shuffled loss_binary negative softmax_axis_0 weights_x10
convnet_softmax inputs_divided inputs_noise l2_0.1 loss_binary_one_hot normal_0.01 output_tanh
convolutional_autoencoder all_half constant_0.05_hidden loss_binary_values loss_mape loss_msle
    loss_poisson single_rows
cosine_with_warmup constant_0.05_hidden fan_out_tiny middle_constant rate_x100 rate_x1000
    row_weights_negative
counts inputs_inf mean_1 noise_1 normal_0.001 rate_x100 rate_x30 sound_ema sound_l2
customers bias_10 loss_broadcast loss_log loss_log_relu loss_swapped normal_1e-4_hidden
    not_adapted sound_inputs_noise sound_steps
deep_and_cross bias_10 constant_0.1 hard_sigmoid inputs_x255 sound_head_zeros values_sigmoid
    weights_by_10 weights_x5
deep_sets gamma_100 inputs_divided labels_1_and_2 no_normalization output_softmax rate_by_100
    sound_batch_by_2
denoising_autoencoder clipvalue_sgd logits_twice noise_1 output_relu output_softmax sound_gelu
    sound_longer uniform_0_1_hidden
float16_policy l2_1 mean_1 negative output_linear output_relu sigmoid
focal_loss_rare_class constant_0.5 inputs_plus_100 labels_nan loss_mae middle_by_1000
    orthogonal_0.1 sound_own_loss
fraud adagrad head_x100 labels_1_and_2 labels_255 logits_twice zeros_hidden
gradients_clipped fan_out_tiny inputs_by_255 ones softmax_axis_0 softmax_twice sound_he_uniform
    sound_normalized sound_relu weights_by_10
houses inputs_by_1e5 inputs_inf odd_moments rate_x30 relu_from_5 uniform_1
l2_regularised loss_by_1e6_sgd loss_mse loss_poisson normal_1 single_rows weight_decay
label_smoothing head_normal_10 inputs_outliers middle_x100 relu_from_5 values_softmax zeros
lstm_forecast head_normal_10 inputs_plus_100 loss_kld normal_0.01 recurrent_x5 step_uphill
    uniform_0_1_hidden values_relu
many_steps_ahead linear middle_constant rate_by_1000 step_half targets_plus_1000 targets_x1000
    weights_x100
masked_lstm activity_l1 bias_normal_5 dropout_behind_softmax embeddings_normal_10
    loss_mse_one_hot one_hot_x10 rmsprop_0.3 sound_nadam tokens_unknown
mlp_defaults hard_sigmoid head_x100 labels_x10 loss_binary middle_zero sound_bias_normal
    uniform_1
mlp_gelu adadelta gamma_100 labels_one_class logits_missed loss_cosine no_normalization
    sound_glorot_normal
mlp_he_dropout dropout_behind_softmax l1_0.01 labels_one_class orthogonal_3 output_tanh
    weights_by_100
mlp_one_sigmoid_layer frozen_large labels_rolled loss_binary_one_hot one_hot_plus_1 one_hot_x10
    sgd_1e-5 sound_clipped sound_head_by_10 sound_weights_by_1.5
mlp_selu he_under_selu linear not_adapted output_sigmoid softmax_twice sound_bias_0.01
    step_forgotten weights_x5 zeros
mlp_tanh bias_-3 inputs_x1000 l2_1 middle_by_1000 one_hot_inverted output_linear output_sigmoid
    sound_softsign
position_of_a_spot constant_0.5 labels_rolled loss_binary_values loss_categorical middle_zero
    ones
price_in_logs bias_-10 head_zeros inputs_column loss_categorical loss_msle middle_x100 sound_elu
ratings_dense all_frozen frozen l1_0.01 sound_lion targets_by_1000 twice_sigmoid values_sigmoid
raw_waves decay_sgd inputs_one_row labels_from_1 labels_shuffled max_norm normal_1e-4_hidden
    sound_orthogonal sound_relu6
sine_network inputs_columns inputs_nan sound_adamw sound_rate_by_2 sound_rate_x2
    targets_plus_1000
skip_gram embeddings_normal_10 embeddings_ones embeddings_x100 labels_255 labels_nan
    labels_signs sound_rmsprop
spoken_commands labels_negative loss_kld not_adapted rate_0 rate_by_1000 sound_accumulated
    values_tanh
stft_in_the_model gamma_100 inputs_one_row labels_x10 recurrent_x5 row_weights_negative
    slow_averages weights_by_100
table_autoencoder accumulation clipped_sgd exponential loss_log_values sound_narrow
    sound_weights_x1.5 targets_by_1000 values_tanh
text_conv1d dropout_0.99 embeddings_ones embeddings_x100 frozen normal_0.001 sigmoid
    sound_in_order values_relu values_softmax
tumours_selu adam_1 adam_epsilon dropout_0.95 he_under_selu labels_signs loss_hinge softmax
    sound_label_smoothing
unet_binary frozen_tiny glorot_under_relu label_smoothing_1 lecun_under_relu loss_hinge
    normal_1_hidden sound_adamax sound_label_noise twice_sigmoid
unet_plain glorot_under_relu inputs_noise l1_0.1 labels_from_1 loss_x0 sgd_momentum_1
    zeros_hidden
weights_averaged inputs_nan inputs_x1000 inputs_x255 no_normalization slow_averages step_squared
    weights_x100
which_way_up bias_-3 dropout_0.99 loss_cosine loss_x10000_sgd rate_by_100 row_weights_0
    sound_wide
wine inputs_column loss_mse_one_hot max_norm normal_1_hidden one_hot_inverted one_hot_plus_1
"""
HELD = """
anomalies loss_broadcast loss_log_values weight_decay zeros_hidden
autoencoder_then_classes accumulation rate_0 sound_adamax sound_orthogonal
bag_of_words clipvalue_sgd decay_sgd embeddings_ones embeddings_x100
class_weight relu_from_5 single_rows sound_accumulated sound_batch_x2 sound_label_noise
convnet_batchnorm gamma_100 inputs_inf mean_1 output_sigmoid
convnet_logits inputs_noise labels_negative not_adapted sound_head_by_10
convnet_only_convolutions labels_one_class output_tanh sound_glorot_normal sound_relu
convnet_softmax bias_10 dropout_behind_softmax inputs_outliers orthogonal_3
convolutional_autoencoder lecun_under_relu output_linear sound_clipped step_half targets_by_1000
cosine_with_warmup rate_by_100 sgd_momentum_1 sound_batch_by_2 sound_elu
counts adadelta constant_0.05_hidden head_normal_10 sgd_1e-5
customers adam_epsilon loss_x0 middle_zero sound_in_order sound_label_smoothing
deep_and_cross activity_l1 inputs_x1000 loss_categorical uniform_1
deep_sets l1_0.1 logits_twice loss_hinge slow_averages
denoising_autoencoder labels_signs loss_mse normal_0.01 normal_1e-4_hidden
float16_policy frozen_large inputs_by_255 rmsprop_0.3 sound_steps
focal_loss_rare_class labels_255 output_softmax sound_dropout sound_normalized
fraud l1_0.01 label_smoothing_1 loss_log sound_lion
gradients_clipped all_half constant_0.1 loss_by_1e6_sgd loss_mae middle_by_1000
houses constant_0.5 middle_constant values_relu values_softmax
l2_regularised dropout_0.95 hard_sigmoid inputs_one_row negative step_uphill
label_smoothing loss_mse_one_hot odd_moments one_hot_x10 values_tanh
lstm_forecast bias_normal_5 labels_nan loss_binary_values noise_1
many_steps_ahead loss_mape loss_signed sound_weights_by_1.5 uniform_0_1_hidden
masked_lstm all_frozen max_norm one_hot_inverted one_hot_plus_1 recurrent_x5
mlp_defaults inputs_x255 softmax_axis_0 sound_gelu sound_wide
mlp_gelu dropout_0.99 rate_x100 row_weights_negative sound_l2 weights_x10
mlp_he_dropout output_relu softmax_twice sound_adamw sound_rate_x2
mlp_one_sigmoid_layer labels_shuffled normal_1 row_weights_0 sound_weights_x1.5
mlp_selu labels_from_1 loss_kld sound_nadam sound_narrow
mlp_tanh head_x100 inputs_by_1e5 labels_rolled weights_by_100
position_of_a_spot loss_clipped loss_msle sound_head_zeros uniform_0_1
price_in_logs fan_out_tiny inputs_plus_100 sound_relu6 targets_x1000
ratings_dense loss_negated ones sound_bias_normal step_squared targets_plus_1000
raw_waves bias_-3 inputs_divided labels_x10 middle_x100
sine_network l2_0.1 loss_poisson normal_1_hidden twice_sigmoid
skip_gram labels_1_and_2 logits_missed sound_ema sound_longer
spoken_commands adagrad clipped_sgd frozen weights_x5
stft_in_the_model inputs_column no_normalization rate_by_1000 zeros
table_autoencoder linear loss_cosine sound_rmsprop weights_by_10
text_conv1d embeddings_normal_10 loss_binary sound_rate_by_2 step_forgotten tokens_unknown
tumours_selu inputs_nan normal_0.001 sound_bias_0.01 sound_inputs_x1.5 values_sigmoid
unet_binary bias_-10 loss_log_relu loss_swapped sound_own_loss sound_silu
unet_plain orthogonal_0.1 sigmoid softmax sound_leaky_relu
weights_averaged frozen_tiny head_zeros loss_x10000_sgd rate_x1000
which_way_up adam_1 l2_1 rate_x30 weights_x100
wine exponential inputs_columns loss_binary_one_hot sound_he_uniform sound_inputs_noise
"""


def rank(text: str) -> int:
    """A number that looks drawn at random, the same each time."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def listed(which: str = "all") -> list[str]:
    """All pairs of a half, ``program/operator``."""
    text = {"tune": TUNE, "held": HELD, "all": TUNE + HELD}[which]
    lines = [line.split() for line in text.replace("\n    ", " ").strip().splitlines() if line]
    return [f"{program}/{operator}" for program, *operators in lines for operator in operators]


def half(pair: str) -> str:
    """``tune`` or ``held``."""
    return "held" if pair in listed("held") else "tune"


def pairs(which: str = "all") -> list[str]:
    """The pairs of a half, without those that Keras itself refuses to train."""
    truth = known()
    return [pair for pair in listed(which) if "raises" not in truth.get(pair, {})]


def propose(programs: dict[str, Any]) -> str:
    """A list of pairs as ``HELD`` has it, none of which was ever measured.

    Each operator is applied to one program that it applies to; of those, to one of the programs
    that have the fewest operators so far. Slow programs and those that do not learn are left out.
    """
    from tests.bench.programs.mutate import operators

    truth = known()
    fit = [name for name, program in programs.items() if _fits(name, program, truth)]
    made = {name: programs[name].make() for name in fit}
    chosen: dict[str, list[str]] = {name: [] for name in fit}
    for item in operators().values():
        free = [n for n in fit if f"{n}/{item.name}" not in truth]
        free.sort(key=lambda n: (len(chosen[n]) // 2, rank(f"{n}/{item.name}")))
        name = next((n for n in free if _applies(item, made[n])), None)
        if name:
            chosen[name].append(item.name)
    return "\n".join(f"{name} {' '.join(sorted(of))}" for name, of in sorted(chosen.items()) if of)


def _fits(name: str, program: Any, truth: dict[str, Any]) -> bool:
    """True for a stock program that learns, and fast."""
    entry = truth.get(name, {})
    fast = entry.get("seconds", 1e9) <= SLOWEST
    return bool(program.stock and fast and min(entry["scores"]) >= program.learned)


def _applies(item: Any, run: Any) -> bool:
    try:
        return item.change(run) is not None
    except Exception as error:
        print(f"# {item.name}: {type(error).__name__}: {str(error)[:100]}")
        return False
