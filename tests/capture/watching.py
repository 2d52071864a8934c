"""A callback of the suite that keeps all it is given."""

import initwatch
from initwatch.capture.observer import optimizers_of
from initwatch.capture.session import Session


class Collector:
    """An outlet that keeps the updates, but for what they are told once more."""

    name = "collector"
    waits = False

    def __init__(self):
        self.updates = []

    def open(self, step):
        pass

    def emit(self, update):
        if not update.tried:
            self.updates.append(update)

    def note(self, text):
        raise AssertionError(text)

    def close(self, report):
        pass


class Watching(initwatch.InitWatch):
    """InitWatch with a collector among its outlets."""

    def __init__(self, **kwargs):
        super().__init__(console=False, **kwargs)
        self.collector = Collector()

    def _join(self, watch):
        super()._join(watch)
        watch.open_outlet(self.collector, 0)

    @property
    def updates(self):
        return self.collector.updates


# what Keras itself puts on its layers and models under the name of a method
OF_KERAS = {"build", "quantize", "loss"}


def leftovers(model):
    """Names of instance attributes that shadow a method, on the model and all it holds."""
    owners = [model, *optimizers_of(model), *model._flatten_layers(include_self=False)]
    found = [
        (owner.name, name)
        for owner in owners
        for name in vars(owner)
        if name not in OF_KERAS and callable(getattr(type(owner), name, None))
    ]
    function = vars(model).get("train_function")
    if isinstance(getattr(function, "__self__", None), Session):
        found.append((model.name, "train_function"))
    return found
