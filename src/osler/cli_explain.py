"""The command ``osler explain``: why a model answered as it did."""

from pathlib import Path
from typing import Annotated

import typer

from osler.errors import BundleError


def explain(
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE", help="A bundle's name or folder, or an imported network's folder."
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A photograph, picture or volume; of values or several inputs a row: "
            "COHORT.csv#CASE.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write into.")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="occlusion or attention (bundles); contributions (of several inputs); grad-cam, "
            "grad-cam++, layer-cam, score-cam, attention-rollout, integrated-gradients, "
            "gradient-times-input, smooth-grad (networks)  [default: occlusion, or grad-cam]",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="NAME",
            help="The answer to explain, as LABEL or OUTPUT=LABEL  [default: what the model says]",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", metavar="NAME", help="Of a class activation map  [default: one is found]"
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.")
    ] = False,
) -> None:
    """Show where an answer comes from, how far to believe it, and the evidence for it.

    Writes explanation.html, explanation.json, overlay.png and heatmap.npz (of a volume also
    heatmap.nii.gz) into DIR/CASE. Beside the map stand deletion and insertion curves, and how like
    it is to the map of random weights; for a photograph of the fundus also the path from its
    lesions, by the rules of the guidelines, to a grade. Of a bundle of values, signals or several
    named inputs it says what each contributed (Shapley values), and what would have been said
    without it.
    """
    from osler.cli import _errors, _say

    with _errors(debug=debug, asked=BundleError):
        import osler
        from osler.explain.inputs import InputsExplanation
        from osler.terminal import one_line

        said = osler.explain(bundle, source, method=method, label=label, layer=layer)
        folder = said.write(out)
        if quiet:
            return
        if isinstance(said, InputsExplanation):
            _say("\n".join([*map(one_line, said.sentences), f"written to {folder}"]))
            return
        faithful = said.faithful
        _say(
            f"{said.label}: {said.question} {said.value:.3f}\n"
            f"deletion {faithful.deletion.area:.3f} (random order "
            f"{faithful.random_deletion.area:.3f}), insertion {faithful.insertion.area:.3f} "
            f"({faithful.random_insertion.area:.3f})"
        )
        if said.evidence is not None:
            _say(said.evidence.of("diabetic-retinopathy").sentence)
        _say(f"written to {folder}")
