"""``osler fit`` for the task ``instruction``: a language model that learns from conversations.

The loop is the one of all tasks. What differs is its beginning and its end: the arrays are made by
the model's own tokenizer, and what is handed over is a folder of transformers, not a bundle, since
a graph of billions of numbers that writes is no ONNX file that a card can describe.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from osler.data.cohort import Cohort
from osler.data.cohort import Row as CohortRow
from osler.data.provenance import cohort_used
from osler.errors import MissingExtraError, OutputError, RecipeError
from osler.learn.card_parts import card_metrics
from osler.learn.checkpoint import State
from osler.learn.distributed import join
from osler.learn.instruction_model import checked, ends_of, lent, opened, write
from osler.learn.instruction_tokens import Example, collated, moved, packed
from osler.learn.learner import Learner
from osler.learn.loop import Loss, train
from osler.learn.precision import uses_bfloat16
from osler.learn.recipe import Recipe
from osler.learn.samplers import CaseSampler
from osler.learn.teaching import cohort_of, divide, encode_rows
from osler.learn.teaching import opened as opened_cases
from osler.tasks.instruction import Instruction, as_output
from osler.tasks.task import Figure, Row, Sample

if TYPE_CHECKING:
    from osler.learn.fitting import Run

REPLICATES = 2000
_BEFORE = "before training: "


def fit_instruction(
    recipe: Recipe, task: Instruction, path: Path, folder: Path | None, *, resume: bool
) -> "Run":
    """What `osler.learn.fitting.fit` does, for language models.

    Raises:
        RecipeError: the recipe, its model or its cohort is wrong; nothing was trained.
        MissingExtraError: a package is not installed.
        OutputError: the folder of the run cannot be written.
    """
    from osler.learn.fitting import Run, keep_data

    source = check_instruction(recipe, task, path)
    folder = folder if folder is not None else Path("runs") / recipe.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"'{folder}' cannot be written: {error.strerror}; choose another folder with --out"
        ) from error
    cohort = cohort_of(recipe, path, folder=folder)
    test = recipe.hold.test
    used = cohort_used(cohort, hold=test if isinstance(test, int) else None)
    used["split"]["hold"] = recipe.hold.model_dump(mode="json")
    used = keep_data(used, folder, resume=resume)
    begun = begin(recipe, task, cohort, source)
    taught, task = begun.taught, begun.taught.task
    state = taught.learn(begun, folder, resume=resume)
    rows, figures = taught.judged(begun.test_rows)
    written = write(
        taught.net, taught.speaker, folder, task.settings, source=source, dtype=taught.dtype
    )
    judged = (
        f"{used['cohort']['table']}: {len(rows)} cases of part {test}, whose patients neither "
        f"taught ({len(begun.teach_rows)} cases) nor tuned ({len(begun.tune_rows)})"
    )
    metrics = card_metrics(figures, data=judged)
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "data": used,
        "metrics": metrics,
        "training": {
            "minutes": round(state.seconds / 60, 1),
            "learnt": sum(one.numel() for one in taught.net.learnt),
            "parameters": sum(one.numel() for one in taught.net.base.parameters()),
            "left_out": begun.left_out,
        },
        "written": [one.name for one in written],
    }
    _write_json(folder / "run.json", record)
    _write_json(folder / "cases.json", rows)
    return Run(recipe.name, folder, written[-1], metrics, used)


def check_instruction(recipe: Recipe, task: Instruction, path: Path) -> Path:
    """The folder of the model that is taught, once recipe and model are known to serve.

    Raises:
        RecipeError: the recipe asks for what the task has not, or the folder is no such model.
        MissingExtraError: a package is not installed.
    """
    _refuse(recipe)
    source = (path.parent / task.settings.model).resolve()
    checked(source)
    return source


def begin(recipe: Recipe, task: Instruction, cohort: Cohort, source: Path) -> "Begun":
    """Divide and encode the cases, and open the model with the updates that it learns.

    Raises:
        RecipeError: the cohort or the model does not serve, or no answer fits.
    """
    teach_rows, tune_rows, test_rows = divide(cohort, recipe)
    task = task.planned(opened_cases(teach_rows, cohort))
    taught = _Taught(recipe, task, cohort, source)
    samples = taught.samples(teach_rows)
    examples = taught.examples(samples)
    tune = taught.examples(taught.samples(tune_rows))
    kept = [n for n, one in enumerate(examples) if one is not None]
    if not kept:
        raise RecipeError("no answer fits into settings.length tokens after its question; raise it")
    teach = [one for one in examples if one is not None]
    learner = recipe.learner
    choose = CaseSampler.of(
        learner, len(kept), labels=[samples[n].group for n in kept],
        groups=[samples[n].patient for n in kept],
    )  # fmt: skip

    def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
        return taught.loss(net, [teach[n] for n in choose(number)])

    if learner.checkpointing:
        taught.net.base.enable_input_require_grads()
        _recomputing(taught.net.base, "enable", {"use_reentrant": False})
    return Begun(
        taught=taught,
        loss=loss,
        # the model recomputes its activations itself: the loop must not do it once more
        learner=learner.model_copy(update={"checkpointing": False}),
        tune=[one for one in tune if one is not None],
        longest=max(map(len, teach)),
        left_out=sum(one is None for one in (*examples, *tune)),
        teach_rows=teach_rows,
        tune_rows=tune_rows,
        test_rows=test_rows,
    )


@dataclass(frozen=True, slots=True)
class Begun:
    """What stands before the first step.

    Attributes:
        taught: the model.
        loss: of a step, from the cases that teach.
        learner: how the loop takes the steps.
        tune: conversations that tune.
        longest: tokens of the longest conversation that teaches.
        left_out: conversations whose answer does not fit into ``settings.length`` tokens.
        teach_rows, tune_rows, test_rows: the cases of each part.
    """

    taught: "_Taught"
    loss: Loss
    learner: Learner
    tune: list[Example]
    longest: int
    left_out: int
    teach_rows: list[CohortRow]
    tune_rows: list[CohortRow]
    test_rows: list[CohortRow]


class _Taught:
    """A model while it learns and is judged."""

    def __init__(self, recipe: Recipe, task: Instruction, cohort: Cohort, source: Path) -> None:
        self.recipe, self.task, self.cohort = recipe, task, cohort
        self.device = join().device()
        low = uses_bfloat16(recipe.learner, self.device)
        self.dtype = torch.bfloat16 if low else torch.float32
        self.net, self.speaker = opened(
            source, task.settings, device=self.device, dtype=self.dtype, seed=recipe.learner.seed
        )

    def learn(self, begun: Begun, folder: Path, *, resume: bool) -> State:
        """Take the steps; the best updates of the cases that tune are left in the model."""

        def validate(net: nn.Module) -> dict[str, float]:
            return {"score": -self._mean_loss(net, begun.tune)}

        state = train(
            self.net, loss=begun.loss, validate=validate if begun.tune else None,
            learner=begun.learner, folder=folder, resume=resume,
        )  # fmt: skip
        if self.recipe.learner.checkpointing:
            _recomputing(self.net.base, "disable")
        return state

    def samples(self, rows: Sequence[CohortRow]) -> list[Sample]:
        """Cases as conversations."""
        return encode_rows(rows, self.cohort, self.task, keep_case=False)

    def examples(self, samples: Sequence[Sample]) -> list[Example | None]:
        """As the model reads them; None where the answer does not fit."""
        return [
            self.speaker.example(
                one.home["turns"], one.home["text"], one.home["images"],
                length=self.task.settings.length,
            )
            for one in samples
        ]  # fmt: skip

    def loss(self, net: nn.Module, examples: Sequence[Example]) -> Tensor:
        """Of some conversations."""
        said = self.task.settings
        pad = self.speaker.pad
        if said.pack:
            given, labels = packed(examples, length=said.length, pad=pad)
        else:
            given, labels = collated(examples, pad=pad)
        base = self.net.base
        scores = net(**moved(given, base))
        loss: Tensor = self.task.criterion({"scores": scores}, {"labels": labels.to(scores.device)})
        return loss

    def _mean_loss(self, net: nn.Module, examples: Sequence[Example]) -> float:
        """Mean over examples, so that long answers do not outweigh short ones."""
        with torch.no_grad():
            losses = [float(self.loss(net, [one])) for one in examples]
        return sum(losses) / len(losses)

    def judged(self, rows: Sequence[CohortRow]) -> tuple[dict[str, Row], list[Figure]]:
        """What is answered to the cases that test, and its figures beside those of before."""
        most = self.task.settings.most_judged
        chosen = list(rows)
        if len(chosen) > most:
            chosen = random.Random(1).sample(chosen, most)
        if not chosen:
            return {}, []
        samples = self.samples(chosen)
        patients = [one.patient for one in samples]
        after = [self._answered(one) for one in samples]
        with self.net.base.disable_adapter():
            before = [self._answered(one) for one in samples]
        figures = self.task.figures(after, patients, seed=1, replicates=REPLICATES)
        own = [one for one in figures if not one.name.startswith(("always", "commonest"))]
        old = self.task.figures(before, patients, seed=1, replicates=REPLICATES)[: len(own)]
        for one in old:
            figures.append(Figure(**{**_fields(one), "name": _BEFORE + one.name}))
        rows_ = {
            one.id: {**row, "before": past["said"]}
            for one, row, past in zip(samples, after, before, strict=True)
        }
        return rows_, figures

    def _answered(self, sample: Sample) -> Row:
        with lent(self.net) as model, torch.inference_mode():
            given = moved(self.speaker.prompt(sample.home["turns"], sample.home["images"]), model)
            written = model.generate(
                **given, max_new_tokens=self.task.settings.answer_length, do_sample=False,
                num_beams=1, temperature=None, top_p=None, top_k=None,
                pad_token_id=self.speaker.pad,
                eos_token_id=ends_of(self.net, self.speaker) or None,
            )  # fmt: skip
        start = given["input_ids"].shape[1]
        text = self.speaker.tokenizer.decode(written[0][start:], skip_special_tokens=True)
        return self.task.judge(as_output(str(text)), sample)


def _recomputing(model: Any, what: str, *options: Any) -> None:
    """Switch activation checkpointing, under the name that this release of transformers has."""
    new = getattr(model, f"activation_checkpointing_{what}", None)
    (new or getattr(model, f"gradient_checkpointing_{what}"))(*options)


def _refuse(recipe: Recipe) -> None:
    """What the recipe asks for and a language model's training does not have."""
    if join().count > 1:
        raise RecipeError("'instruction' trains in one process; start it without torchrun")
    faults: list[tuple[str, bool]] = [
        ("strategies", bool(recipe.strategies)),
        ("unlabelled", recipe.unlabelled is not None),
        ("network", recipe.network.name is not None),
        ("augment", recipe.augment != "none"),
        ("labels", recipe.some_unlabelled or recipe.labels.noise > 0),
    ]
    asked = [name for name, there in faults if there]
    if asked:
        raise RecipeError(
            f"{', '.join(asked)}: the task 'instruction' has none; its model is settings.model"
        )
    try:
        import peft  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            error.name or "transformers", extra="train", purpose="train a language model"
        ) from error


def _fields(figure: Figure) -> dict[str, Any]:
    return {name: getattr(figure, name) for name in Figure.__dataclass_fields__}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
