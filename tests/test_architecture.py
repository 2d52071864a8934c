"""Rooms import downwards only. Reads the source; imports nothing of it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "initwatch"

# Each room may import the rooms before it. The command line and the initializers that a user
# gives to layers sit beside the callback.
ORDER = "records theory measurement diagnosis advice capture outlets watch callback".split()
TOP = {"watch", "callback", "comparison", "initializers", "cli", "__main__"}
HELPERS = {"errors": set(), "schedule": {"initwatch.errors"}}  # any room may import these
# Imports that the order alone would not allow.
ALLOWED = {
    # writer and reader share the grammar of tags, how numbers are packed, how records are framed
    ("outlets", "initwatch.plugin.metadata"),
    ("outlets", "initwatch.plugin.encoding"),
    ("outlets", "initwatch.plugin.tfrecord"),
    ("plugin", "initwatch.plugin"),
    ("plugin", "initwatch.records"),
    ("comparison", "initwatch.callback"),  # each of its runs is watched
    ("__main__", "initwatch.cli"),
    ("cli", "initwatch"),  # its version and its docstring
    ("cli", "initwatch.plugin"),  # it reads logs as the tab does
}
# In these folders files do not know each other, but for the ones named.
SIBLINGS = {
    "diagnosis/rules": set(),
    "outlets": {"outlet", "event_file", "tab_log", "prediction"},
    "capture/backends": {"protocol"},
}
# Who may import what is heavy or foreign: rooms, or single files.
FOREIGN = {
    "keras": {"capture", "advice", "watch", "callback", "comparison", "initializers"},
    "tensorflow": {"capture/backends/tensorflow.py"},
    "jax": {"capture/backends/jax.py"},
    "torch": {"capture/backends/torch.py"},
    "tensorboard": {"outlets", "plugin"},
    "rich": {"outlets/console.py", "outlets/progress.py"},
    # what is imported by name at run time escapes this test
    "importlib": {"__init__.py", "capture/backends/__init__.py"},
}


def imported(path):
    """Every module a file imports, wherever in the file: (module, names taken from it)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), tuple(a.name for a in node.names)


def modules_behind(module, names, package):
    """The modules of the package that an import reaches: ``from a import b`` may mean a.b."""
    folder = package.joinpath(*module.split(".")[1:])
    files = [
        name for name in names if (folder / f"{name}.py").is_file() or (folder / name).is_dir()
    ]
    if len(files) == len(names) and files:
        return [f"{module}.{name}" for name in files]
    return [module, *(f"{module}.{name}" for name in files)]


def within(module, allowed):
    return module == allowed or module.startswith(f"{allowed}.")


def fault_of_room(room, module):
    """What is wrong with this room importing this module of the package, or None."""
    if any(room == who and within(module, what) for who, what in ALLOWED if what != "initwatch"):
        return None
    if (room, module) in ALLOWED:
        return None
    target = module.split(".")[1] if "." in module else ""
    if not target:
        return "imports the package's root"
    if room in HELPERS:
        return None if module in HELPERS[room] else f"{room} is a helper and imports {module}"
    if target in HELPERS or target == room:
        return None if room != "plugin" or target in HELPERS else f"plugin imports {module}"
    if room in TOP and target in ORDER[:-1]:
        return None
    if room not in ORDER or target not in ORDER or ORDER.index(target) >= ORDER.index(room):
        return f"{room} imports {target}"
    return None


def fault_of_siblings(where, module):
    """Where files of a folder are independent: what is wrong with this import, or None."""
    for folder, shared in SIBLINGS.items():
        inside = f"initwatch.{folder.replace('/', '.')}."
        if where.startswith(f"{folder}/") and module.startswith(inside):
            sibling = module.removeprefix(inside).split(".")[0]
            if sibling not in shared:
                return f"{where} imports its sibling {sibling}"
    return None


def faults(package):
    """Every import that points where it must not."""
    found = []
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package).as_posix()
        room = where.split("/")[0].removesuffix(".py")
        if room not in {*ORDER, *TOP, *HELPERS, "plugin", "__init__"}:
            found.append(f"{where}: has no place in ORDER")
        for module, names in imported(path):
            if module.startswith("."):
                found.append(f"{where}: relative import of {module}")
            top = module.split(".")[0]
            if not {room, where} & FOREIGN.get(top, {room}):
                found.append(f"{where}: imports {top}")
            # the root imports for type checkers only, or when a name is first used
            if top != "initwatch" or room == "__init__":
                continue
            if module == "initwatch" and names:
                found.append(f"{where}: from initwatch import {', '.join(names)}")
                continue
            for reached in modules_behind(module, names, package):
                wrong = [fault_of_room(room, reached), fault_of_siblings(where, reached)]
                found += [f"{where}: {fault}" for fault in wrong if fault]
    return found


def test_the_house_stands():
    assert faults(PACKAGE) == []


def test_every_room_is_there_and_was_read():
    for room in [*ORDER, *TOP, *HELPERS, "plugin"]:
        assert (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file(), room
    for folder, shared in SIBLINGS.items():
        assert all((PACKAGE / folder / f"{name}.py").is_file() for name in shared)


def test_the_root_imports_nothing_of_its_own_at_once():
    for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = getattr(node, "module", None)
            assert (module, names) in [(None, ["importlib"]), ("typing", ["TYPE_CHECKING", "Any"])]


PLANTED = [
    ("records/a.py", "from initwatch.theory.fans import fans", "records imports theory"),
    ("theory/a.py", "import initwatch.diagnosis.engine", "theory imports diagnosis"),
    ("diagnosis/a.py", "def f():\n    from initwatch.advice import b", "diagnosis imports advice"),
    ("capture/a.py", "import initwatch.callback", "capture imports callback"),
    ("outlets/a.py", "import initwatch.plugin.plugin", "outlets imports plugin"),
    ("capture/a.py", "import initwatch.plugin.metadata", "capture imports plugin"),
    ("plugin/a.py", "import initwatch.theory.fans", "plugin imports theory"),
    ("plugin/a.py", "import initwatch.outlets.b", "plugin imports outlets"),
    ("callback.py", "import initwatch.cli", "callback imports cli"),
    ("callback.py", "import initwatch.comparison", "callback imports comparison"),
    ("comparison.py", "import initwatch.cli", "comparison imports cli"),
    ("cli.py", "import initwatch.callback", "cli imports callback"),
    ("initializers.py", "import initwatch.callback", "initializers imports callback"),
    ("advice/a.py", "import initwatch.initializers", "advice imports initializers"),
    ("errors.py", "import initwatch.records", "errors is a helper and imports"),
    ("schedule.py", "import initwatch.records", "schedule is a helper and imports"),
    ("theory/a.py", "from . import fans", "relative import"),
    ("theory/a.py", "from ..records import History", "relative import"),
    ("theory/a.py", "from initwatch import Report", "from initwatch import Report"),
    ("theory/a.py", "import initwatch", "imports the package's root"),
    ("diagnosis/rules/a.py", "import initwatch.diagnosis.rules.b", "imports its sibling b"),
    ("diagnosis/rules/a.py", "from initwatch.diagnosis.rules import b", "imports its sibling b"),
    ("outlets/a.py", "from initwatch.outlets.b import B", "imports its sibling b"),
    ("capture/backends/jax.py", "import initwatch.capture.backends.b", "imports its sibling b"),
    ("theory/a.py", "import keras.ops", "imports keras"),
    ("diagnosis/a.py", "from keras import ops", "imports keras"),
    ("capture/a.py", "import tensorflow as tf", "imports tensorflow"),
    ("capture/backends/tensorflow.py", "import torch", "imports torch"),
    ("capture/backends/torch.py", "import jax.numpy", "imports jax"),
    ("capture/a.py", "from tensorboard.compat import tf", "imports tensorboard"),
    ("outlets/b.py", "import rich", "imports rich"),
    ("advice/a.py", "import importlib", "imports importlib"),
    ("helpers/a.py", "", "has no place"),
]


@pytest.mark.parametrize(("where", "source", "fault"), PLANTED)
def test_a_planted_fault_is_caught(where, source, fault, tmp_path):
    for name in ("diagnosis/rules/b.py", "outlets/b.py", "capture/backends/b.py", "advice/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import numpy\n", encoding="utf-8")
    assert faults(tmp_path) == []
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_text(source, encoding="utf-8")
    (found,) = faults(tmp_path)
    assert found.startswith(where)
    assert fault in found


SOUND = [
    ("advice/a.py", "import keras, numpy\nfrom initwatch.diagnosis.rules.b import B"),
    ("diagnosis/rules/a.py", "from initwatch.diagnosis import depth\nimport initwatch.theory.fans"),
    ("outlets/a.py", "import tensorboard, initwatch.plugin.metadata, initwatch.outlets.outlet"),
    ("plugin/plugin.py", "import tensorboard, initwatch.plugin.metadata, initwatch.records.report"),
    ("capture/backends/jax.py", "import jax\nfrom initwatch.capture.backends.protocol import P"),
    ("callback.py", "import keras, initwatch.schedule, initwatch.errors, initwatch.outlets.b"),
    ("comparison.py", "import keras, initwatch.callback, initwatch.outlets.b"),
    ("cli.py", "import initwatch\nimport initwatch.diagnosis.catalogue"),
    ("__main__.py", "from initwatch.cli import main"),
    ("schedule.py", "from initwatch.errors import ArgumentError"),
]


@pytest.mark.parametrize(("where", "source"), SOUND)
def test_what_is_right_is_left_alone(where, source, tmp_path):
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_text(source, encoding="utf-8")
    assert faults(tmp_path) == []
