"""What only torch has: optimizers that change variables in place."""

import keras
import numpy as np
import torch

from initwatch.records import Statistic
from tests.capture import models
from tests.capture.watching import Watching


def test_updates_are_seen_although_variables_change_in_place():
    model = models.compiled(models.plain_dense, optimizer=keras.optimizers.SGD(0.1))
    x, y = models.data_for(model, 32)
    before = models.values_of(model.trainable_variables)
    watch = Watching()
    model.fit(x, y, batch_size=32, verbose=0, callbacks=[watch])
    after = models.values_of(model.trainable_variables)
    moved = [np.sqrt(np.mean(np.square(b - a))) for a, b in zip(before, after, strict=True)]
    assert np.allclose(watch.updates[0].values[Statistic.UPDATE_RMS], moved, rtol=1e-4)


def test_a_rehearsed_step_is_counted_once_by_metrics(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    histories = []
    for callbacks in ([], [Watching()]):
        model = models.compiled(models.plain_dense, jit_compile=True)
        # the first 8 steps are rehearsed, those behind them are not
        x, y = models.data_for(model, 12 * 8)
        fit = model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
        histories.append(fit.history)
    assert histories[0] == histories[1]
