"""Why a model answered as it did: maps, how far each can be believed, and the evidence in words.

    said = osler.explain("retina-dr", "photo.jpg")     a map of the answer
    said.faithful, said.random_weights                 how far it can be believed
    said.evidence                                      from marked lesions by rules to a grade
    said.write("out")                                  explanation.html, .json, pictures, arrays

From outside, with any model that answers (numpy only): `occlusion`. From inside a torch network:
``osler.explain.inside`` (class activation maps, gradients, attention). The package is the verb
too: ``osler.explain(...)`` works before and after ``import osler.explain``.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.explain.absent import absent
    from osler.explain.alike import Likeness, likeness
    from osler.explain.evidence import EvidencePath, evidence_path
    from osler.explain.explaining import METHODS, Explanation
    from osler.explain.faithfulness import Faithfulness, faithfulness
    from osler.explain.occlusion import occlusion

__all__ = (
    "METHODS",
    "EvidencePath",
    "Explanation",
    "Faithfulness",
    "Likeness",
    "absent",
    "evidence_path",
    "faithfulness",
    "likeness",
    "occlusion",
)

_PLACES = {
    "METHODS": "explaining",
    "EvidencePath": "evidence",
    "Explanation": "explaining",
    "Faithfulness": "faithfulness",
    "Likeness": "alike",
    "absent": "absent",
    "evidence_path": "evidence",
    "faithfulness": "faithfulness",
    "likeness": "alike",
    "occlusion": "occlusion",
}

_verb = getattr(sys.modules["osler"], "explain", None)  # before this package takes its name


class _Room(ModuleType):
    """A package that is called: importing it puts it where the verb of the same name stood."""

    def __call__(
        self,
        bundle: Any,
        source: Any,
        *,
        method: str | None = None,
        label: str | None = None,
        layer: str | None = None,
    ) -> "Explanation":
        """See ``osler.explain``."""
        assert callable(_verb)
        said: Explanation = _verb(bundle, source, method=method, label=label, layer=layer)
        return said

    def __getattribute__(self, name: str) -> Any:
        # a module of this room may have the name of what it offers; what it offers is meant
        if name in _PLACES:
            from importlib import import_module

            return getattr(import_module(f"osler.explain.{_PLACES[name]}"), name)
        return super().__getattribute__(name)


sys.modules[__name__].__class__ = _Room
