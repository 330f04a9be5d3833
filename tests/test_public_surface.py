"""What ``import osler`` offers, and what it costs."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import osler

HEAVY = {
    "PIL", "highdicom", "imagecodecs", "jinja2", "networkx", "numpy", "onnx", "onnxruntime",
    "pandas", "pydantic", "pydicom", "rich", "scipy", "skimage", "tifffile", "torch", "typer",
    "yaml",
}  # fmt: skip

LIGHT_ROOMS = (
    "osler.record", "osler.metrics", "osler.io", "osler.tasks", "osler.bundles", "osler.retina",
    "osler.explain", "osler.data", "osler.batch", "osler.cli",
)  # fmt: skip


def imported_by(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after ``code``."""
    code += "\nimport json, sys; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_the_verbs():
    assert osler.__all__ == (
        "__version__", "evaluate", "explain", "fit", "load", "models", "predict", "read", "write",
    )  # fmt: skip
    assert osler.models.__doc__
    for verb in set(osler.__all__) - {"__version__", "models"}:
        function = getattr(osler, verb)
        assert inspect.getdoc(function)
        assert inspect.signature(function).return_annotation is not inspect.Signature.empty


def test_explain_is_a_verb_and_a_room():
    code = (
        "import osler, inspect\n"
        "before = inspect.signature(osler.explain).parameters\n"
        "import osler.explain\n"
        "from osler.explain import occlusion, METHODS\n"
        "assert list(inspect.signature(osler.explain).parameters) == list(before)\n"
        "assert callable(occlusion) and callable(osler.explain.occlusion)\n"
        "from osler.errors import BundleError\n"
        "try: osler.explain('retina-dri', 'photo.jpg')\n"
        "except BundleError as error: assert 'retina-dr' in str(error)\n"
        "else: raise AssertionError"
    )
    imported_by(code)


def test_importing_osler_loads_nothing_heavy():
    assert not imported_by("import osler") & HEAVY


def test_help_loads_nothing_that_reads():
    code = (
        "import sys; sys.argv = ['osler', '--help']\n"
        "from osler.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )
    assert not imported_by(code) & (HEAVY - {"rich", "typer", "yaml"})


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_what_a_room_names_is_there_and_documented(room):
    module = importlib.import_module(room)
    assert module.__doc__
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"{room}.{name}"


def test_every_module_says_what_it_is():
    for module in pkgutil.walk_packages(osler.__path__, "osler."):
        if module.name.startswith(("osler.learn", "osler.models")):
            continue  # they take torch
        assert importlib.import_module(module.name).__doc__, module.name


def test_fit_without_torch_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import osler\n"
        "from osler.errors import MissingExtraError\n"
        "try: osler.fit('recipe.yaml')\n"
        "except MissingExtraError as error: assert 'osler[train]' in str(error)"
    )
    imported_by(code)
