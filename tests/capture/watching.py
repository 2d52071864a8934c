"""A callback of the suite that keeps all it is given."""

import initwatch


class Collector:
    """An outlet that keeps every update."""

    name = "collector"

    def __init__(self):
        self.updates = []

    def open(self, step):
        pass

    def emit(self, update):
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
