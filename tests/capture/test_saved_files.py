"""Files of a watched training equal those of a plain one, entry for entry."""

import io
import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tests.capture import ways
from tests.capture.watching import Watching

# ways whose state is more than weights: slots of every kind, averages, seeds, statistics
STATEFUL = (
    "adam",
    "two optimizers",
    "mixed_float16",
    "moving average, written back",
    "gradient accumulation",
    "batch normalisation",
    "lstm",
    "frozen between fits",
)


def saving(folder):
    return [
        keras.callbacks.ModelCheckpoint(folder / "epoch_{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(
            folder / "batch_{batch}.weights.h5", save_weights_only=True, save_freq=3
        ),
        keras.callbacks.BackupAndRestore(folder / "backup", save_freq=5, delete_checkpoint=False),
    ]


def entries_of(path):
    """What a file holds: name -> content, of members, datasets and attributes alike."""
    return entries_in(path.name, path.read_bytes())


def entries_in(name, content):
    if name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = {}
            for member in archive.namelist():
                inside = entries_in(member, archive.read(member))
                found |= {f"{member}/{entry}": value for entry, value in inside.items()}
            return found
    if name.endswith(".h5"):
        return entries_of_h5(content)
    if name.endswith("metadata.json"):
        told = json.loads(content)
        told.pop("date_saved", None)
        return {name: told}
    if name.endswith("config.json"):
        return {name: with_counted_objects(content.decode())}
    return {name: content}


def with_counted_objects(config):
    """Objects that occur more than once are named by their place in memory: here by a count."""
    counts = {}
    return re.sub(
        r'(?<="shared_object_id": )\d+',
        lambda place: str(counts.setdefault(place.group(), len(counts))),
        config,
    )


def entries_of_h5(content):
    found = {}

    def visit(name, item):
        for key, value in item.attrs.items():
            found[f"{name}@{key}"] = np.asarray(value).tobytes()
        if isinstance(item, h5py.Dataset):
            found[name] = (str(item.dtype), item.shape, item[()].tobytes())
        else:
            found[name] = None

    with h5py.File(io.BytesIO(content)) as file:
        visit("", file)
        file.visititems(visit)
    return found


def all_entries(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): entries_of(path) for path in files}


def trained(way, callbacks, folder):
    folder.mkdir()
    keras.utils.clear_session()  # names of optimizers count from the beginning again
    model = ways.train(way, [*callbacks, *saving(folder)], folder).model
    model.save(folder / "whole.keras")
    model.save_weights(folder / "whole.weights.h5")
    return all_entries(folder)


@pytest.mark.parametrize("name", STATEFUL)
def test_files(name, tmp_path):
    way = ways.WAYS[name]
    plain = trained(way, [], tmp_path / "plain")
    watched = trained(way, [Watching()], tmp_path / "watched")
    assert {"whole.keras", "whole.weights.h5"} < set(plain)
    assert any(name.startswith("backup") for name in plain)
    assert any(name.startswith("epoch") for name in plain)
    assert any(name.startswith("batch") for name in plain)
    assert plain == watched


def test_no_file_names_us(tmp_path):
    trained(ways.WAYS["adam"], [Watching(log_dir=tmp_path / "logs")], tmp_path / "watched")
    for path in (tmp_path / "watched").rglob("*"):
        assert not path.is_file() or b"initwatch" not in path.read_bytes()
