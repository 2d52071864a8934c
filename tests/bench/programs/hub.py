"""Programs on ready-made or trained parts: keras_hub's networks, LoRA, int8, other dtypes.

The networks of keras_hub are drawn at random from a small configuration; their programs are there
only where keras_hub is installed.
"""

from importlib.util import find_spec

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

from .program import Run, accuracy, program
from .row_data import sentences, split, topics
from .sequences import word_accuracy


def digits():
    """Digits from 0 to 1, and their class."""
    x, y = load_digits(return_X_y=True)
    return split((x / 16).astype("float32"), y.astype("int32"))


def pretrained():
    """Two layers that were trained to class the digits up to 7, as a model of their own."""
    (x, y), _ = digits()
    base = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(48, activation="relu"),
        ],
        name="base",
    )
    model = keras.Sequential([keras.Input((64,)), base, layers.Dense(8, activation="softmax")])
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x[y < 8], y[y < 8], epochs=5, verbose=0)
    return base


def with_head(base):
    inputs = keras.Input((64,))
    h = base(inputs, training=False)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(h))


def fine_tuned(model, rate, epochs, **more):
    (x, y), test = digits()
    return Run(
        model=model,
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(rate),
        epochs=epochs,
        test=test,
        **more,
    )


@program("frozen_layers", area="hub", score=accuracy, chance=0.11, learned=0.7, stock=True)
def frozen_layers():
    """Transfer: layers trained on eight digits are frozen, a new output learns all ten."""
    base = pretrained()
    base.trainable = False
    return fine_tuned(with_head(base), 3e-3, 15)


@program("unfrozen_layers", area="hub", score=accuracy, chance=0.11, learned=0.75, stock=True)
def unfrozen_layers():
    """Fine-tuning: trained layers and a new output learn on together at a low rate."""
    return fine_tuned(with_head(pretrained()), 5e-4, 12)


@program("lora", area="hub", score=accuracy, chance=0.11, learned=0.75, stock=True)
def lora():
    """LoRA of rank 4 on trained Dense layers, and a new output."""
    base = pretrained()
    for layer in base.layers:
        layer.enable_lora(4)
    return fine_tuned(with_head(base), 3e-3, 12)


@program("int8_base", area="hub", score=accuracy, chance=0.11, learned=0.7, stock=True)
def int8_base():
    """Trained layers quantized to int8, which gives no gradient, under an output in float."""
    base = pretrained()
    base.quantize("int8")
    base.trainable = False
    return fine_tuned(with_head(base), 3e-3, 15)


@program("int8_lora", area="hub", score=accuracy, chance=0.11, learned=0.75, stock=True)
def int8_lora():
    """QLoRA: trained layers quantized to int8, LoRA of rank 8 on them, and a new output."""
    base = pretrained()
    base.quantize("int8")
    for layer in base.layers:
        layer.enable_lora(8)
    return fine_tuned(with_head(base), 3e-3, 12)


@program("bfloat16_layers", area="hub", score=accuracy, chance=0.11, learned=0.8, stock=True)
def bfloat16_layers():
    """Layers with dtype="mixed_bfloat16", an output in float32."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, activation="relu", dtype="mixed_bfloat16"),
            layers.Dense(64, activation="relu", dtype="mixed_bfloat16"),
            layers.Dense(10, activation="softmax", dtype="float32"),
        ]
    )
    return fine_tuned(model, 2e-3, 10)


@program("float16_policy", area="hub", score=accuracy, chance=0.11, learned=0.8, stock=True)
def float16_policy():
    """The guide's mixed precision: a global policy, float32 at the end, a LossScaleOptimizer."""
    keras.config.set_dtype_policy("mixed_float16")
    (x, y), test = digits()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
            layers.Activation("softmax", dtype="float32"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(2e-3)),
        epochs=10,
        test=test,
    )


@program("weights_averaged", area="hub", score=accuracy, chance=0.11, learned=0.8, stock=True)
def weights_averaged():
    """Adam with an exponential average of the weights, which replaces them at the end."""
    (x, y), test = digits()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(96, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("swish"),
            layers.Dropout(0.3),
            layers.Dense(10),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3, use_ema=True, ema_momentum=0.95),
        epochs=12,
        test=test,
    )


def bert_inputs(x):
    return {
        "token_ids": x,
        "segment_ids": np.zeros_like(x),
        "padding_mask": (x > 0).astype("int32"),
    }


def bert(size, longest):
    import keras_hub

    return keras_hub.models.BertBackbone(
        vocabulary_size=size,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        max_sequence_length=longest,
    )


if find_spec("keras_hub") is not None:

    @program("hub_bert", area="hub", score=accuracy, chance=0.28, learned=0.75)
    def hub_bert():
        """keras_hub's BertTextClassifier, small, from a configuration."""
        import keras_hub

        x, y, size = topics(rows=1200, share=0.5)
        (x, y), (x_test, y_test) = split(x, y)
        model = keras_hub.models.BertTextClassifier(
            backbone=bert(size, 20), num_classes=4, preprocessor=None
        )
        return Run(
            model=model,
            x=bert_inputs(x),
            y=y,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            optimizer=keras.optimizers.AdamW(1e-3),
            epochs=8,
            test=(bert_inputs(x_test), y_test),
        )

    @program("hub_bert_pooled", area="hub", score=accuracy, chance=0.28, learned=0.75, stock=True)
    def hub_bert_pooled():
        """A functional model on keras_hub's BertBackbone: pooled output, Dropout, Dense."""
        x, y, size = topics(rows=1200, share=0.5)
        (x, y), (x_test, y_test) = split(x, y)
        backbone = bert(size, 20)
        h = layers.Dropout(0.1)(backbone.output["pooled_output"])
        return Run(
            model=keras.Model(backbone.input, layers.Dense(4, activation="softmax")(h)),
            x=bert_inputs(x),
            y=y,
            loss="sparse_categorical_crossentropy",
            optimizer=keras.optimizers.Adam(1e-3),
            epochs=8,
            test=(bert_inputs(x_test), y_test),
        )

    @program("hub_gpt2", area="hub", score=word_accuracy, chance=0.05, learned=0.7)
    def hub_gpt2():
        """keras_hub's GPT2CausalLM, small; pads weigh nothing."""
        import keras_hub

        x, size = sentences(rows=1000)
        (x, y), (x_test, y_test) = split(x[:, :-1], x[:, 1:])
        backbone = keras_hub.models.GPT2Backbone(
            vocabulary_size=size,
            num_layers=2,
            num_heads=2,
            hidden_dim=32,
            intermediate_dim=64,
            max_sequence_length=15,
        )

        def inputs(x):
            return {"token_ids": x, "padding_mask": (x > 0).astype("int32")}

        return Run(
            model=keras_hub.models.GPT2CausalLM(backbone=backbone, preprocessor=None),
            x=inputs(x),
            y=y,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            optimizer=keras.optimizers.AdamW(3e-3),
            sample_weight=(y > 0).astype("float32"),
            epochs=10,
            test=(inputs(x_test), y_test),
        )

    @program("hub_layers", area="hub", score=accuracy, chance=0.28, learned=0.75, stock=True)
    def hub_layers():
        """keras_hub's TokenAndPositionEmbedding and TransformerEncoder in a functional model."""
        import keras_hub

        x, y, size = topics(rows=1200, share=0.5)
        (x, y), test = split(x, y)
        inputs = keras.Input((20,), dtype="int32")
        h = keras_hub.layers.TokenAndPositionEmbedding(size, 20, 32)(inputs)
        h = keras_hub.layers.TransformerEncoder(64, 2, dropout=0.1, normalize_first=True)(h)
        h = layers.GlobalAveragePooling1D()(h)
        return Run(
            model=keras.Model(inputs, layers.Dense(4)(h)),
            x=x,
            y=y,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            epochs=6,
            test=test,
        )
