"""A run with the first advice of a report followed, as far as a program can follow it."""

import re
from dataclasses import replace
from typing import Any


def follow(run: Any, report: Any) -> Any:
    """The run with the report's first advice followed; None if a program cannot."""
    first = report.advice[0]
    same = [item for item in report.advice if item.kind == first.kind]
    return FOLLOW.get(first.kind, _not_at_all)(run, same, report)


def _not_at_all(run: Any, advice: list[Any], report: Any) -> Any:
    return None


def _initializer(run: Any, advice: list[Any], report: Any) -> Any:
    import initwatch

    return run if initwatch.reinitialize(run.model, report) else None


def _arguments(code: str) -> dict[str, Any]:
    """What a line such as ``keras.optimizers.SGD(clipnorm=1.0)`` has in brackets."""
    found = re.search(r"\((.*)\)", code)
    try:
        return eval(f"dict({found[1]})") if found else {}  # noqa: S307  # our own advice
    except Exception:
        return {}


def _rate(run: Any, advice: list[Any], report: Any) -> Any:
    from tests.bench.programs.mutate_training import with_rate

    words = f"{advice[0].suggested} {advice[0].code}"
    for text, factor in (("a tenth", 0.1), ("ten times", 10.0)):
        if text in words:
            return with_rate(run, factor)
    rate = _arguments(advice[0].code).get("learning_rate")
    if not isinstance(rate, float) or run.optimizer is None:
        return None
    return replace(run, optimizer=_other(run.optimizer, learning_rate=rate))


def _other(optimizer: Any, **settings: Any) -> Any:
    return type(optimizer).from_config(optimizer.get_config() | settings)


def _clipping(run: Any, advice: list[Any], report: Any) -> Any:
    names = ("clipnorm", "clipvalue", "global_clipnorm")
    found = _arguments(advice[0].code)
    settings = {name: found.get(name) for name in names}
    if run.optimizer is None or not (found.keys() & set(names) or "none" in advice[0].code.lower()):
        return None
    return replace(run, optimizer=_other(run.optimizer, **settings))


def _optimizer(run: Any, advice: list[Any], report: Any) -> Any:
    import keras

    found = re.search(r"keras\.optimizers\.\w+\(.*\)", advice[0].code)
    if not found:
        return None
    made = eval(found[0], {"keras": keras})  # noqa: S307  # our own advice
    return replace(run, optimizer=made)


def _named(model: Any, advice: list[Any]) -> list[Any]:
    """The layers that advice speaks of, of the model built anew."""
    from tests.bench.programs.mutate_rebuild import parts

    names = {item.layer.rsplit("/", 1)[-1] for item in advice} | {item.layer for item in advice}
    return [layer for layer in parts(model) if layer.name in names or layer.path in names]


def _activation(run: Any, advice: list[Any], report: Any) -> Any:
    from tests.bench.programs.mutate_rebuild import with_activation

    same = [item for item in advice if item.code == advice[0].code]
    name = _arguments(f"({advice[0].code})").get("activation")
    layers = _named(run.model, same)
    if not isinstance(name, str) or not layers:
        return None
    kernel = _arguments(f"({advice[0].code})").get("kernel_initializer")
    more = {"kernel_initializer": kernel} if kernel else {}
    plain = [layer for layer in layers if "kernel_initializer" in layer.get_config()]
    if len(plain) < len(layers):
        more = {}
    return replace(run, model=with_activation(run.model, layers, name, **more))


def _normalization(run: Any, advice: list[Any], report: Any) -> Any:
    import keras
    from keras import layers as kl

    from tests.bench.programs.mutate_rebuild import hidden_kernels, is_in, like, rebuilt

    kind = "LayerNormalization" if "LayerNorm" in advice[0].code else "BatchNormalization"
    hidden = [x for x in hidden_kernels(run.model) if not isinstance(x, kl.Embedding)]
    named = [x for x in _named(run.model, advice) if is_in(x, hidden)] or hidden

    def exchange(layer: Any, config: Any) -> Any:
        if not is_in(layer, named):
            return None
        norm = getattr(kl, kind)()
        activation = config.get("activation")
        if kind == "LayerNormalization" or isinstance(layer, kl.RNN) or not activation:
            return [like(layer, config), norm]
        bare = like(layer, config | {"activation": None})
        return [bare, norm, kl.Activation(keras.activations.get(activation))]

    return replace(run, model=rebuilt(run.model, exchange)) if named else None


def _input_scale(run: Any, advice: list[Any], report: Any) -> Any:
    import keras
    import numpy as np

    from tests.bench.programs.mutate_data import numbers

    if not numbers(run.x) or not isinstance(run.test, tuple) or len(run.test) != 2:
        return None

    def one(rows: Any, other: Any) -> Any:
        if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fu":
            return other
        rows = rows.astype("float64")
        scaled = (np.asarray(other, "float64") - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-7)
        return scaled.astype("float32")

    held_out = keras.tree.map_structure(one, run.x, run.test[0])
    return replace(run, x=keras.tree.map_structure(one, run.x, run.x), test=(held_out, run.test[1]))


def _target_scale(run: Any, advice: list[Any], report: Any) -> Any:
    import numpy as np

    if not isinstance(run.y, np.ndarray) or not isinstance(run.test, tuple):
        return None
    mean, deviation = run.y.mean(axis=0), run.y.std(axis=0) + 1e-12
    y_test = (np.asarray(run.test[1]) - mean) / deviation
    return replace(run, y=(run.y - mean) / deviation, test=(run.test[0], y_test))


def _data(run: Any, advice: list[Any], report: Any) -> Any:
    """Rows that are not finite are left out; lines that change x or y are executed."""
    import keras
    import numpy as np

    code = advice[0].code
    if "isfinite" not in code:
        return _executed(run, code)
    arrays = [*keras.tree.flatten(run.x), *keras.tree.flatten(run.y)]
    if not all(isinstance(a, np.ndarray) for a in arrays):
        return None
    real = [a.reshape(len(a), -1) for a in arrays if a.dtype.kind == "f"]
    good = np.all([np.isfinite(a).all(axis=1) for a in real], axis=0)

    def cut(values: Any) -> Any:
        return keras.tree.map_structure(lambda a: a[good], values)

    weight = None if run.sample_weight is None else cut(run.sample_weight)
    return replace(run, x=cut(run.x), y=cut(run.y), sample_weight=weight)


def _executed(run: Any, code: str) -> Any:
    """The run after a line such as ``y = y / 255``."""
    import numpy as np

    if not re.match(r"[xy] = ", code):
        return None
    names = {"x": run.x, "y": run.y, "np": np}
    exec(code, names)  # noqa: S102  # our own advice
    changed = {name: names[name] for name in "xy" if names[name] is not getattr(run, name)}
    return replace(run, **changed) if changed else None


def _output_loss(run: Any, advice: list[Any], report: Any) -> Any:
    """Another head, another loss, other labels, as the line says."""
    from tests.bench.programs.mutate_rebuild import (
        ACTIVATION_LAYERS,
        at_the_end,
        end_activation,
        like,
        rebuilt,
    )

    code = advice[0].code
    if executed := _executed(run, code):
        return executed
    loss = re.search(r"loss=\"(\w+)\"", code)
    loss_object = re.search(r"keras\.losses\.\w+\([^()]*\)", code)
    head = re.search(r"keras\.layers\.\w+\((\d+)(?:.*activation=\"(\w+)\")?", code)
    if head:
        heads, _ = at_the_end(run.model)
        last, _ = end_activation(run.model)

        def exchange(layer: Any, config: Any) -> Any:
            if len(heads) == 1 and layer is heads[0]:
                size = "units" if "units" in config else "filters"
                return [like(layer, config | {size: int(head[1]), "activation": head[2]})]
            return [] if layer is last and isinstance(layer, ACTIVATION_LAYERS) else None

        run = replace(run, model=rebuilt(run.model, exchange))
    if loss_object:
        import keras

        run = replace(run, loss=eval(loss_object[0], {"keras": keras}))  # noqa: S307  # our own
    elif loss:
        run = replace(run, loss=loss[1])
    return run if loss or head or loss_object else None


def _regularization(run: Any, advice: list[Any], report: Any) -> Any:
    """No penalties and constraints, dropout of what is suggested, noise left out."""
    from keras import layers as kl

    from tests.bench.programs.mutate_rebuild import like, rebuilt, settings

    found = re.search(r"Dropout\(([\d.]+)\)", advice[0].code)
    most = float(found[1]) if found else 0.5

    def exchange(layer: Any, config: Any) -> Any:
        if isinstance(layer, kl.GaussianNoise):
            return []
        for part in settings(config):
            for key in part:
                if key.endswith(("_regularizer", "_constraint")):
                    part[key] = None
        if isinstance(layer, kl.Dropout):
            config["rate"] = min(config["rate"], most)
        return [like(layer, config)]

    optimizer = run.optimizer
    if "decay" in advice[0].code and optimizer is not None:
        optimizer = _other(optimizer, weight_decay=None)
    return replace(run, model=rebuilt(run.model, exchange), optimizer=optimizer)


FOLLOW = {
    "initializer": _initializer,
    "learning_rate": _rate,
    "clipping": _clipping,
    "optimizer": _optimizer,
    "activation": _activation,
    "normalization": _normalization,
    "input_scale": _input_scale,
    "target_scale": _target_scale,
    "data": _data,
    "output_loss": _output_loss,
    "loss": _output_loss,
    "regularization": _regularization,
}
