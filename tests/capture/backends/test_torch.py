"""What only torch has: optimizers that change variables in place."""

import keras
import numpy as np

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
