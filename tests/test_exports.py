"""The public names, and what importing them costs."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import initwatch

PACKAGE = Path(initwatch.__file__).parent
HEAVY = {"keras", "tensorflow", "jax", "torch"}


def loaded_by(statement):
    """Top-level modules that a fresh interpreter has loaded after ``statement``."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(run.stdout)}


def test_importing_the_package_loads_nothing_heavy():
    loaded = loaded_by("import initwatch")
    assert "initwatch" in loaded
    assert loaded.isdisjoint(HEAVY | {"tensorboard", "numpy", "rich"})


def test_the_tag_grammar_loads_nothing_heavy():
    # a TensorBoard server imports it: keras would cost it five seconds
    assert loaded_by("import initwatch.plugin.metadata").isdisjoint(HEAVY)


def test_rules_and_report_need_no_backend():
    loaded = loaded_by(
        "import initwatch\ninitwatch.default_rules()\nprint(initwatch.Report(), file=sys.stderr)"
    )
    assert "numpy" in loaded
    assert loaded.isdisjoint(HEAVY | {"tensorboard"})


def test_all_is_the_table_of_lazy_names():
    assert set(initwatch.__all__) == set(initwatch._HOMES) | initwatch._MODULES
    assert initwatch.__all__ == sorted(initwatch.__all__, key=lambda n: (n[0].islower(), n))
    assert set(initwatch.__all__) <= set(dir(initwatch))


def test_type_checkers_see_the_same_names_in_the_same_places():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(guarded.test) == "TYPE_CHECKING"
    seen = {alias.name: node.module for node in guarded.body for alias in node.names}
    modules = dict.fromkeys(initwatch._MODULES, "initwatch")
    assert seen == initwatch._HOMES | modules


@pytest.mark.parametrize("name", initwatch._HOMES)
def test_every_name_is_where_the_table_says(name):
    home = initwatch._HOMES[name]
    path = PACKAGE.joinpath(*home.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    bound = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
    assert name in bound


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, home in initwatch._HOMES.items()
        if not home.endswith(("callback", "comparison", "reinitialize", "lsuv"))
    ],
)
def test_names_of_light_modules_are_loaded_on_use(name):
    assert getattr(initwatch, name) is getattr(
        importlib.import_module(initwatch._HOMES[name]), name
    )


def test_modules_are_loaded_on_use():
    loaded = loaded_by("import initwatch\nassert initwatch.initializers.Critical")
    assert "keras" in loaded


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'initwatch' has no attribute 'Initwatch'"):
        _ = initwatch.Initwatch
    assert not hasattr(initwatch, "keras")
