"""The page of the networks, made of their cards: ``docs/models.md``.

python -m osler.models.page docs/benchmarks/networks.csv > docs/models.md

The file of measured figures comes of ``benchmarks/networks.py``.
"""

import csv
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Final

from osler.models.card import Card
from osler.models.catalogue import SYSTEMS

_HEAD: Final = """# Networks

Every system below is built by `osler.models.create(NAME, ...)` and listed by `osler models list`.
This page is made from their cards by `make docs`. No weights come with Osler and none are
downloaded: `weights` says where their authors publish them, and under which licence. Osler's
networks are written from papers and published facts, not from the official code, whose licence is
named for those who want to compare.

```
osler models list "*fundus*"
osler models inspect RETFound_mae_natureCFP.pth
osler models import RETFound_mae_natureCFP.pth --as retfound-vit-large --out retfound
osler predict retfound photos --features --out features
```

Networks of volumes, pairs, signals, tables and words are [asked too](predict-networks.md).

A checkpoint is read without running anything in it: torch's files and archives, safetensors,
folders of Hugging Face and open_clip, Google's arrays. Wrappers (`model`, `teacher`, `state_dict`
and others, also twice) and prefixes that all names share are taken off; a report says what was
matched, missing, unexpected, reshaped and dropped. What would have to be run is refused by name,
and so are weights that are not finite or no floating-point numbers. Heads of attention are in no
file: they follow from the width where every published network has the same, and must be said
(`num_heads=`) elsewhere.

`import --format` says what is written. `huggingface` is a folder with `config.json` and
safetensors: vision transformers and ResNets are opened by timm
(`timm.create_model("local-dir:FOLDER", pretrained=True)`), networks that write by transformers; the
tensors of all others have Osler's names, and `create(NAME, checkpoint=FOLDER)` or `osler predict
FOLDER` opens them. `safetensors` is the weights alone; `monai` a bundle that MONAI's parser builds
where Osler is installed; `onnx` a graph that was compared with the network before it was written.

`seconds` and `memory` are for one sample of the published size in single precision at random
weights: processor time of one core, and the whole process (`python benchmarks/networks.py`,
[how](benchmarks.md#networks)); a smaller input than the published one stands beside the seconds.
Language models of 6.7 to 7.9 thousand million parameters take 27 GB and more that way and were
not run.
GMAC are thousands of millions of multiply-adds of one forward.
"""


def page(measured: Mapping[str, Mapping[str, str]]) -> str:
    """The page as Markdown.

    Args:
        measured: for each network that was run, ``seconds``, ``megabytes`` and, where it was
            smaller than the published one, ``input``.
    """
    cards = [system.card for system in SYSTEMS]
    parts = [_HEAD]
    for group, some in groupby(cards, key=lambda card: card.group):
        parts.append(f"## {group[0].upper()}{group[1:]}\n")
        listed = list(some)
        parts.append(_table(listed, measured))
        parts += [_details(card) for card in listed]
    return "\n".join(parts)


def _table(cards: Iterable[Card], measured: Mapping[str, Mapping[str, str]]) -> str:
    lines = [
        "| network | answers | takes | parameters | GMAC | seconds | memory | ONNX "
        "| licence of the weights |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for card in cards:
        run = measured.get(card.name, {})
        lines.append(
            "| "
            + " | ".join(
                [
                    f"[`{card.name}`](#{card.name})",
                    ", ".join(card.answers),
                    ", ".join(
                        one.kind + (" (optional)" if one.optional else "") for one in card.inputs
                    ),
                    "–" if card.parameters is None else f"{card.parameters / 1e6:.1f} M",
                    "–" if card.gflops is None else f"{card.gflops:g}",
                    _seconds(run),
                    f"{run['megabytes']} MB" if run.get("megabytes") else "–",
                    "yes" if card.exportable else "no",
                    card.weights_licence or "none published",
                ]
            )
            + " |"
        )
    return "\n".join(lines) + "\n"


def _seconds(run: Mapping[str, str]) -> str:
    """Seconds, with the input where it was a smaller one than the published."""
    said = run.get("seconds") or "–"
    return f"{said} ({run['input']})" if run.get("input") else said


def _details(card: Card) -> str:
    lines = [f"### {card.name}\n", f"**{_plain(card.title)}.** {_plain(card.summary)}\n"]
    for one in card.inputs:
        size = f"; {one.sizes}" if one.sizes else ""
        lines.append(f"- takes `{one.name}`: {one.kind}, {_plain(one.shape)}{size}")
    lines.append(f"- gives {_plain(card.gives)}")
    if card.paper:
        lines.append(
            f"- paper: {_plain(card.paper.title)}, {card.paper.year}, {_link(card.paper.link)}"
        )
    if card.source:
        lines.append(f"- official code: <{card.source}> ({card.code_licence})")
    if card.weights:
        lines.append(
            f"- weights: {_plain(card.weights)} ({card.weights_licence or 'licence not stated'})"
        )
    lines += [f"- {_plain(note)}" for note in card.notes]
    return "\n".join(lines) + "\n"


def _link(link: str) -> str:
    if link.startswith("doi:"):
        return f"[{link}](https://doi.org/{link.removeprefix('doi:')})"
    if link.startswith("arXiv:"):
        return f"[{link}](https://arxiv.org/abs/{link.removeprefix('arXiv:')})"
    return f"<{link}>"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    for mark in "[]<>*_|":
        text = text.replace(mark, f"\\{mark}")
    return text


def read_measured(path: Path) -> dict[str, dict[str, str]]:
    """The rows of ``docs/benchmarks/networks.csv`` by network."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["network"]: row for row in csv.DictReader(stream)}


if __name__ == "__main__":
    sys.stdout.write(page(read_measured(Path(sys.argv[1]))))
