"""Trainings as they should be, varied as they are in real use: none deserves a warning."""

from keras import layers, losses, ops
from keras.optimizers import schedules

from tests.bench.zoo import data
from tests.bench.zoo import networks as nets
from tests.bench.zoo.cases import Healthy
from tests.bench.zoo.training import Training

HEALTHY = {}


def healthy(name, network, rows, least=0.5, **training):
    HEALTHY[name] = Healthy(
        name=name, training=Training(network=network, data=rows, **training), least=least
    )


def like(name, other, least=0.5, **changed):
    HEALTHY[name] = Healthy(name=name, training=HEALTHY[other].training.but(**changed), least=least)


def warm_up():
    """Twenty steps from next to nothing up to the rate, then a cosine down."""
    return schedules.CosineDecay(1e-5, 150, warmup_target=3e-3, warmup_steps=20)


def restarts():
    return schedules.CosineDecayRestarts(3e-3, first_decay_steps=40)


def scaled(factor):
    def cross_entropy(y, predicted):
        return factor * losses.sparse_categorical_crossentropy(y, predicted)

    return cross_entropy


def staircase():
    return schedules.ExponentialDecay(3e-3, 50, 0.5, staircase=True)


# ---------------------------------------------------------------- activations and depth
healthy("relu_he", nets.mlp, data.digits)
healthy("relu_he_8", nets.mlp, data.digits, options={"depth": 8})
healthy("relu_he_20", nets.mlp, data.digits, options={"depth": 20}, epochs=5)
healthy("tanh", nets.mlp, data.digits, options={"activation": "tanh", "init": "glorot_uniform"})
like("tanh_8", "tanh", options={"depth": 8})
like("tanh_8_sgd", "tanh_8", optimizer="SGD", rate=0.1)
like("tanh_20", "tanh", options={"depth": 20}, epochs=5)
like("selu", "relu_he", options={"activation": "selu", "init": "lecun_normal"})
like("selu_20", "selu", options={"depth": 20})
like("elu_6", "relu_he", options={"activation": "elu", "depth": 6})
like("gelu", "relu_he", options={"activation": "gelu", "depth": 4})
like("gelu_12", "gelu", options={"depth": 12}, epochs=5)
like("leaky_8", "relu_he", options={"activation": "leaky_relu", "depth": 8})
like("leaky_20", "leaky_8", options={"depth": 20}, epochs=5)
like("leaky_20_sgd", "leaky_20", optimizer="SGD", rate=0.03)
like("selu_20_sgd", "selu_20", optimizer="SGD", rate=0.03)
like("swish_orthogonal", "relu_he", options={"activation": "silu", "init": "orthogonal"})
like("shallow", "relu_he", options={"depth": 1, "init": "glorot_uniform"})
like("sigmoid_shallow", "shallow", options={"activation": "sigmoid"}, rate=3e-3)
like("default_2", "relu_he", options={"depth": 2, "init": "glorot_uniform"})
like("default_4", "default_2", options={"depth": 4})
like("wide", "default_2", options={"width": 512}, epochs=2)

# ---------------------------------------------------------------- architectures
healthy("cnn", nets.cnn, data.images, epochs=5)
like("cnn_norm", "cnn", options={"normalised": True}, epochs=3)
like("cnn_sgd", "cnn", optimizer="SGD", rate=0.03, settings={"momentum": 0.9})
like("cnn_10", "cnn", options={"depth": 10})
healthy("resnet", nets.resnet, data.images, epochs=2)
like("resnet_zero_gamma", "resnet", options={"gamma": "zeros"}, rate=5e-3, epochs=3)
healthy("unet", nets.unet, data.squares, rate=3e-3, epochs=8)
healthy("mobilenet", nets.depthwise, data.images, rate=5e-3, epochs=4)
healthy(
    "depthwise_plain",
    nets.depthwise,
    data.images,
    rate=5e-3,
    epochs=4,
    options={"normalised": False, "blocks": 3},
)
healthy("lstm", nets.recurrent, data.waves, rate=5e-3)
like("gru", "lstm", options={"kind": layers.GRU})
healthy("rnn", nets.recurrent, data.long_waves, rate=3e-3, options={"kind": layers.SimpleRNN})
like("long_gru", "rnn", options={"kind": layers.GRU})
healthy("transformer", nets.transformer, data.texts, rate=3e-3, epochs=6)
healthy("autoencoder", nets.autoencoder, data.own_pixels, least=0.3, rate=3e-3)
like(
    "autoencoder_sigmoid",
    "autoencoder",
    data=data.own_images,
    loss="binary_crossentropy",
    changes={"output": {"activation": "sigmoid"}},
    rate=5e-3,
    least=0.3,
)
healthy("vae", nets.vae, data.own_pixels, least=0.2, rate=5e-3, epochs=6)
healthy("two_heads", nets.two_heads, data.class_and_value)
healthy("text", nets.text, data.texts, rate=1e-2)
like("rare_words", "text", data=data.rare_words)
healthy("shared", nets.shared, data.digits)
healthy("layer_scale", nets.residual_mlp, data.digits)
like("zero_branches", "layer_scale", options={"scale": 0.0})
like("residual", "layer_scale", options={"scale": 0.3})
healthy("low_rank", nets.low_rank, data.digits, rate=5e-3)

# ---------------------------------------------------------------- targets
healthy("regression", nets.mlp, data.table, rate=3e-3)
like("regression_sgd", "regression", optimizer="SGD", rate=0.03)
like("regression_huber", "regression", loss="huber")
like("prices", "regression", data=data.prices, rate=1e-2, epochs=8)
healthy("binary", nets.mlp, data.two_classes, rate=3e-3, epochs=6)
like(
    "binary_logits",
    "binary",
    changes={"output": {"activation": "linear"}},
    threshold=0.0,
    loss=losses.BinaryCrossentropy(from_logits=True),
)
like("binary_mse", "binary", loss="mse")
like("binary_hard", "binary", changes={"output": {"activation": "hard_sigmoid"}})
like("two_units", "binary", data=data.yes_or_no)
like("rare_class", "binary", data=data.rare_class, epochs=10, least=0.3)
like("rare_class_logits", "binary_logits", data=data.rare_class, epochs=10, least=0.3)
like("tags", "binary", data=data.tags)

# ---------------------------------------------------------------- ways of training
like("sgd", "default_2", optimizer="SGD", rate=0.1)
like(
    "softmax_apart",
    "sgd",
    changes={
        "output": {
            "activation": "linear",
            "then": lambda x: ops.reshape(ops.softmax(x), (-1, x.shape[-1])),
        }
    },
)
like("momentum", "default_2", optimizer="SGD", rate=0.03, settings={"momentum": 0.9})
like("adamw", "default_2", optimizer="AdamW", settings={"weight_decay": 0.01})
like("rmsprop", "default_2", optimizer="RMSprop")
like("lion", "default_2", optimizer="Lion", rate=3e-4)
like("adagrad", "default_2", optimizer="Adagrad", rate=0.03)
like("clipped", "default_2", optimizer="SGD", rate=0.1, settings={"global_clipnorm": 1.0})
like("warm_up", "relu_he", rate=warm_up)
like("cosine_restarts", "relu_he", rate=restarts)
like("staircase", "relu_he", rate=staircase)
like("tiny_batch", "default_2", batch=4, epochs=1)
like("large_batch", "default_2", batch=2000, epochs=120, rate=3e-3)
like("unit_inputs", "default_2", data=data.images, rate=3e-3)
like("bytes_norm", "cnn_norm", inputs=lambda x: 255.0 * x)
like("bytes", "unit_inputs", inputs=lambda x: 255.0 * x, rate=1e-3, epochs=8)
like("dim", "unit_inputs", inputs=lambda x: x / 255.0, rate=1e-2, epochs=12)
like("summed", "default_2", loss=losses.SparseCategoricalCrossentropy(reduction="sum"))
like("millionfold", "sgd", loss=scaled(1e6), rate=1e-7)
like("millionth", "sgd", loss=scaled(1e-6), rate=1e5)
like("very_wide", "default_2", options={"width": 2048}, epochs=2)
like("l2", "default_2", options={"kernel_regularizer": "l2"}, rate=3e-3)
like("dropout", "relu_he", options={"dropout": 0.5}, epochs=8)
like("half", "relu_he", policy="mixed_float16")
like("bfloat", "relu_he", policy="mixed_bfloat16")
like("cnn_half", "cnn_norm", policy="mixed_float16")
like("frozen", "cnn", earlier=2, freeze="conv_*")
like("continued", "default_2", earlier=20)
like("on_batches", "default_2", loop="train_on_batch")
healthy(
    "gan",
    nets.mlp,
    data.cloud,
    options={"depth": 2},
    loop="adversarial",
    batch=64,
    epochs=60,
    least=0.3,
)
