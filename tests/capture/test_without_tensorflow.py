"""The log is written where TensorFlow is not installed."""

import subprocess
import sys

import pytest

from tests.capture.models import BACKEND

# None in sys.modules: importing it fails as if it were not there
SCRIPT = """
import sys
sys.modules["tensorflow"] = None
import initwatch
from tests.capture import models
model = models.compiled(models.plain_dense)
watch = initwatch.InitWatch(sys.argv[1], console=False)
model.fit(*models.data_for(model, 64), batch_size=16, verbose=0, callbacks=[watch])
assert watch.report.problems == []
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
read = EventAccumulator(sys.argv[1] + "/initwatch").Reload()
print(len(read.Scalars("initwatch/loss")), len(read.Tags()["tensors"]) > 0)
"""


@pytest.mark.skipif(BACKEND == "tensorflow", reason="needs a backend that is not TensorFlow")
def test_scalars_are_read_back(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-2:] == ["4", "True"]
