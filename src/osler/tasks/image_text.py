"""Pictures and what was written of them, brought into one space: classes by words, and retrieval.

The bundle holds the encoder of pictures with its classes as ``model.onnx``, the encoder of texts as
``text.onnx`` and its words, so that it can be asked for other classes (`osler.bundles.image_text`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.errors import InputError, RecipeError
from osler.metrics.novelty import unlikeliness
from osler.record import Case, Finding, Label, Source
from osler.tasks import image_text_figures, image_text_losses
from osler.tasks.image_input import encode_image, image_of
from osler.tasks.image_text_settings import ImageTextTaskSettings
from osler.tasks.image_text_words import (
    Numbers,
    keywords_of,
    known_words,
    numbers_of,
    prompts_of,
    text_drawn,
    tokenizer_file,
    tokenizer_of,
)
from osler.tasks.labels import label_of
from osler.tasks.prediction_set import prediction_set
from osler.tasks.reporting import text_of
from osler.tasks.task import (
    Arrays,
    Figure,
    InputSpec,
    OutputSpec,
    Predict,
    Row,
    Sample,
    Settings,
    Task,
    softmax,
)

EMBEDDING, SCORES = "embedding", "scores"
TEXT_GRAPH, TOKENIZER = "text.onnx", "tokenizer.json"
NONE_OF_THEM = "none of these"


class ImageTextTask(Task):
    """See `ImageTextTaskSettings`."""

    name: ClassVar[str] = "image-text"
    title: ClassVar[str] = "Pictures and texts"
    Settings: ClassVar[type[Settings]] = ImageTextTaskSettings
    images: tuple[str, ...] = ("image",)

    settings: ImageTextTaskSettings
    _bundle: Any = None
    _tokenizer: Any = None

    # What it needs to know before it starts ------------------------------------------------------

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Find keywords, distinct texts, classes and words of the teaching cases."""
        said = self.settings
        texts = [self._keywords(case) for case in samples()]
        counted = Counter(word for words in texts for word in words)
        keywords = sorted(counted, key=lambda word: (-counted[word], word))
        if len({frozenset(one) for one in texts if one}) < 2:
            raise RecipeError(
                f"fewer than two texts of the teaching cases differ in '{said.target}'; "
                "settings.target names a column 'label:NAME' of the cohort or a text"
            )
        classes = said.classes or {w: [w] for w in keywords if counted[w] >= said.least}
        if len(classes) < 2:
            raise RecipeError(
                f"{len(classes)} keywords stand in {said.least} teaching cases or more; lower "
                "settings.least, or name settings.classes"
            )
        place = {word: number for number, word in enumerate(keywords)}
        distinct = sorted({tuple(place[word] for word in words) for words in texts if words})
        changed: dict[str, Any] = {
            "keywords": keywords, "classes": classes, "texts": [list(one) for one in distinct],
        }  # fmt: skip
        if said.text.encoder == "words":
            known = known_words([w for words in texts for w in words], classes, said)
            changed["text"] = said.text.model_copy(update={"vocabulary": known})
        return type(self)(said.model_copy(update=changed))

    def inputs(self) -> tuple[InputSpec, ...]:
        size = self.settings.image.size
        assert size is not None
        return (InputSpec("image", self.settings.image.channels, size=size, axes=len(size)),)

    def outputs(self) -> tuple[OutputSpec, ...]:
        return (
            OutputSpec(EMBEDDING, "none", (), "where the picture lies among texts, of length 1"),
            OutputSpec(SCORES, "softmax", tuple(self.settings.classes), "a score a class"),
        )

    def network(self) -> tuple[str, Mapping[str, Any]]:
        return "image-text", {}

    def wanted(self) -> Mapping[str, Any]:
        said = self.settings
        more: dict[str, Any] = {"longest": said.text.longest, "expert": said.expert > 0}
        if said.text.encoder == "words":
            more |= {"text": "words", "vocabulary": said.text.vocabulary}
        else:
            more |= {"text": "bert", "text_folder": said.text.encoder}
        return {**super().wanted(), **more}

    def completed(self, net: Any, beside: Mapping[str, Any]) -> Any:
        """The pair with the prompts of the classes."""
        import torch

        from osler.models.image_text_answers import Answering, pair_of

        prompts = prompts_of(self.settings.classes, self.settings)
        ids, mask = self.numbers([one for of_one in prompts for one in of_one])
        return Answering(
            pair_of(net), torch.from_numpy(ids), torch.from_numpy(mask),
            [len(one) for one in prompts], self.settings.ensemble,
        )  # fmt: skip

    # From cases to arrays ------------------------------------------------------------------------

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        image, *_ = encode_image(case, self.settings.image)
        sample = Sample(case.id, case.patient_id or case.id, {"image": image}, case=case)
        if truth:
            keywords = self._keywords(case)
            if not keywords:
                raise InputError(f"case '{case.id}' has no text '{self.settings.target}'")
            sample.home["keywords"] = keywords
            sample.targets = self._truth(keywords, self._class(case, keywords))
            place = {word: number for number, word in enumerate(self.settings.keywords)}
            known = [word for word in keywords if word in place]
            sample.group = max(known, key=lambda word: place[word]) if known else "none"
        return sample

    def _truth(self, keywords: Sequence[str], kind: int) -> Arrays:
        text = text_drawn(keywords, self.settings, None)
        ids, mask = self.numbers([text])
        return {
            "ids": ids[0], "mask": mask[0], "keywords": self._marked(keywords),
            "written": self._marked(keywords), "class": np.array(kind, np.int64),
        }  # fmt: skip

    def _marked(self, keywords: Sequence[str]) -> NDArray[np.float32]:
        """Which of the teaching keywords these are, 0 and 1."""
        there = set(keywords)
        return np.array([word in there for word in self.settings.keywords], np.float32)

    def _keywords(self, case: Case) -> list[str]:
        return keywords_of(text_of(case, self.settings.target), self.settings.separators)

    def _class(self, case: Case, keywords: Sequence[str]) -> int:
        """The place of a case's class; -1 where it is of none, or of several."""
        said = self.settings
        if said.truth is not None:
            value = label_of(case, said.truth)
            return list(said.classes).index(value) if value in said.classes else -1
        there = set(keywords)
        found = [
            place
            for place, (name, prompts) in enumerate(said.classes.items())
            if there & {one.lower() for one in (name, *prompts)}
        ]
        return found[0] if len(found) == 1 else -1

    def numbers(self, texts: Sequence[str]) -> Numbers:
        """Ids and mask of texts, ``(P, longest)`` each, as the encoder of texts takes them."""
        said = self.settings
        if said.text.encoder != "words" and self._tokenizer is None:
            content = (
                tokenizer_file(said.text.encoder).read_bytes()
                if self._bundle is None
                else self._bundle.read(TOKENIZER)
            )
            self._tokenizer = tokenizer_of(content, longest=said.text.longest)
        return numbers_of(texts, said, self._tokenizer)

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        """The picture, and its text in other words; of ``semantic``, any teaching text."""
        said, targets = self.settings, dict(sample.targets)
        words = sample.home["keywords"]
        if said.objective == "semantic":
            drawn = said.texts[int(rng.integers(len(said.texts)))]
            words = [said.keywords[place] for place in drawn]
            targets["written"] = self._marked(words)
        if said.objective == "semantic" or said.knowledge.training > 0:
            ids, mask = self.numbers([text_drawn(words, said, rng)])
            targets |= {"ids": ids[0], "mask": mask[0]}
        return sample.inputs, targets

    # Learning ------------------------------------------------------------------------------------

    def loss(
        self, net: Any, inputs: Mapping[str, Any], targets: Mapping[str, Any], *, step: int
    ) -> Any:
        """The objective, of embeddings of the batch's pictures and texts."""
        from osler.models.image_text_answers import pair_of

        pair = pair_of(net)
        outputs = {
            "image": pair.embed_image(inputs["image"]),
            "text": pair.embed_text(targets["ids"], targets["mask"]),
            "scale": pair.scale(), "attention": getattr(pair, "expert", None), "step": step,
        }  # fmt: skip
        return self.criterion(outputs, targets)

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        said = self.settings
        seen, told = outputs["image"].float(), outputs["text"].float()
        scores = outputs["scale"].float() * told @ seen.T
        written, keywords = targets["written"], targets["keywords"]
        if said.objective == "semantic":
            loss = image_text_losses.semantic(scores, written, keywords, sharpness=said.sharpness)
        elif said.objective == "evidential":
            alike = image_text_losses.likeness(written, keywords, "same")
            ramp = min(1.0, outputs["step"] / said.anneal)
            loss = image_text_losses.evidential(scores, alike, ramp=ramp)
        else:
            alike = image_text_losses.likeness(written, keywords, said.objective)
            loss = image_text_losses.soft(scores, alike)
        if said.expert > 0 and outputs["attention"] is not None:
            loss = loss + said.expert * image_text_losses.atlas(outputs["attention"], seen, told)
        return loss

    def exportable(self, net: Any) -> Any:
        """The encoder of pictures with the classes as numbers."""
        from osler.models.image_text_answers import Answering

        found = [one for one in net.modules() if isinstance(one, Answering)]
        return found[0].fixed() if found else net

    def more_graphs(self, net: Any) -> Mapping[str, tuple[Any, Mapping[str, Any], Sequence[str]]]:
        """The encoder of texts."""
        import torch

        from osler.models.image_text_answers import TextSide, pair_of

        ids, mask = self.numbers([self.settings.caption])
        feed = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        return {TEXT_GRAPH: (TextSide(pair_of(net)), feed, ("said", "scale"))}

    def more_files(self, net: Any, folder: Path) -> Mapping[str, bytes]:
        """A BERT's tokenizer; the pair itself goes to ``folder/network``, for few-shot ways."""
        from osler.models.image_text import keep_pair
        from osler.models.image_text_answers import pair_of

        keep_pair(pair_of(net), folder / "network", caption=self.settings.caption)
        if self.settings.text.encoder == "words":
            return {}
        return {TOKENIZER: tokenizer_file(self.settings.text.encoder).read_bytes()}

    # From arrays to findings and figures ---------------------------------------------------------

    def opened(self, bundle: Any) -> None:
        """Read texts with this bundle's own encoder."""
        self._bundle = bundle

    def embedded(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], float]:
        """Embeddings of texts ``(P, D)`` by the bundle's encoder, and the factor of scores.

        Raises:
            InputError: there is no text, or the task was made without a bundle.
        """
        if self._bundle is None or not texts:
            raise InputError("texts are a list of one sentence or more, asked of a bundle")
        ids, mask = self.numbers(texts)
        rows, scale = [], 1.0
        for one in range(len(ids)):
            said, factor = self._bundle.beside(
                TEXT_GRAPH,
                {"input_ids": ids[one : one + 1], "attention_mask": mask[one : one + 1]},
            )
            rows.append(np.asarray(said[0], np.float32))
            scale = float(factor[0])
        return np.stack(rows), scale

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """Ask about a case; with its truth, where its text lies, too."""
        inputs = {name: array[None] for name, array in sample.inputs.items()}
        ids, mask = sample.targets.get("ids"), sample.targets.get("mask")
        text = None
        if ids is not None and mask is not None:
            if self._bundle is None:
                inputs |= {"ids": ids[None], "mask": mask[None]}
            else:
                feed = {"input_ids": ids[None], "attention_mask": mask[None]}
                text = self._bundle.beside(TEXT_GRAPH, feed)[0][0]
        said = {name: array[0] for name, array in predict(inputs).items()}
        if text is not None:
            said["text"] = text
        if self.settings.table:
            said[SCORES] = self._asked(said[EMBEDDING])
        return said

    def _asked(self, seen: NDArray[Any]) -> NDArray[np.float32]:
        """Scores against the classes of ``table``, as the graph has them of its own."""
        out = []
        for prompts in self.settings.table:
            table = np.array(prompts, np.float64)
            if self.settings.ensemble == "max":
                out.append(float((table @ seen).max()))
                continue
            mean = table.mean(axis=0)
            if self.settings.ensemble == "direction":
                mean = mean / np.linalg.norm(mean)
            out.append(float(mean @ seen))
        return np.asarray(self.settings.scale * np.array(out), np.float32)

    def named(self, said: Any) -> dict[str, Any]:
        """What the network gave by name, and where the text lies, where it was asked."""
        out = super().named(said)
        if isinstance(said, Mapping) and "text" in said:
            out["text"] = said["text"]
        return out

    def known(self, outputs: Arrays) -> float:
        """How much a picture is like any class, from calibrated scores; see `Rejection`."""
        scores = np.asarray(outputs[SCORES], np.float64)[None]
        if self.settings.rejection.by == "probability":
            return float(1 - unlikeliness(scores)[0])
        if self.settings.rejection.by == "evidence":
            return 1 - uncertainty(scores[0] * self._temperature())
        return float(scores.max())

    def _temperature(self) -> float:
        return float(self.calibration.get(SCORES, {}).get("temperature", 1.0))

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        said = self.settings
        p = softmax(outputs[SCORES])
        named = {name: float(one) for name, one in zip(said.classes, p, strict=True)}
        value = max(named, key=lambda name: named[name])
        asked: dict[str, Any] = {
            "id": "label", "name": "label", "source": source, "probabilities": named,
            "item": image_of(sample.need_case(), said.image.items[0]).name,
        }  # fmt: skip
        least, by = said.rejection.threshold, said.rejection.by
        if said.table and by != "likeness":  # the others depend on how many labels there are
            least = None
        if by != "none" and least is not None and self.known(outputs) < least:
            asked["flags"] = ("unlike-every-label",)
            asked["note"] = (
                f"The picture is less like any of these labels than {said.rejection.kept:.0%} of "
                "the cases of known classes by which the bundle was tuned; the nearest is "
                f"'{value}'."
            )
            if not said.table:  # for other labels the threshold was not fitted: it is a hint
                return [Label(value=NONE_OF_THEM, **asked)]
        quantile = None
        if not said.table:  # a quantile holds for the classes that it was fitted with
            quantile = self.calibration.get(SCORES, {}).get("conformal_quantile")
        kept = prediction_set(named, quantile)
        return [
            Label(
                value=value, probability=named[value], prediction_set=kept,
                coverage=said.coverage if kept else None, **asked,
            )
        ]  # fmt: skip

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        return {
            "keywords": list(sample.home["keywords"]), "class": int(sample.targets["class"]),
            "probability": [round(float(one), 7) for one in softmax(outputs[SCORES])],
            "image": [round(float(one), 5) for one in outputs[EMBEDDING]],
            "text": [round(float(one), 5) for one in outputs["text"]],
            "known": round(self.known(outputs), 6),
        }  # fmt: skip

    def score(self, rows: Sequence[Row]) -> float:
        """Mean of precision at 5 both ways and of the macro AUROC of the classes, where known."""
        found = image_text_figures.retrieval(rows, [str(n) for n in range(len(rows))])
        wanted = ("precision at 5, picture to text", "precision at 5, text to picture")
        parts = [
            float(np.mean([one for one in values if one is not None]))
            for name, values, _ in found
            if name in wanted
        ]
        truth = np.array([row["class"] for row in rows], np.int64)
        area = image_text_figures.zero_shot(
            truth, np.array([row["probability"] for row in rows], np.float64)
        )[0]
        parts += [] if area is None else [area]
        return float(np.mean(parts)) if parts else 0.0

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        return image_text_figures.figures(rows, patients, seed=seed, replicates=replicates)

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """A temperature and a conformal quantile, from the cases of one class."""
        truth = np.array([int(one.targets["class"]) for one in samples])
        kept = truth >= 0
        if kept.sum() < 10:
            return {}
        scores = np.stack([one[SCORES] for one in outputs]).astype(np.float64)[kept]
        temperature = metrics.fit_temperature(truth[kept], scores)
        p = softmax(scores / temperature, axis=1)
        quantile = metrics.conformal_quantile(truth[kept], p, coverage=self.settings.coverage)
        return {
            SCORES: {
                "method": "temperature", "temperature": float(temperature),
                "conformal_quantile": float(quantile), "coverage": self.settings.coverage,
                "fitted_on": f"{on}; {int(kept.sum())} of them of one class",
            }
        }  # fmt: skip

    def concluded(
        self, taught: Sequence[Arrays], teach: Sequence[Sample], held: Sequence[Arrays],
        tune: Sequence[Sample],
    ) -> Self:  # fmt: skip
        """The threshold of rejection, from the tuning cases of one class."""
        said = self.settings
        known = [
            self.known(one)
            for one, sample in zip(held, tune, strict=True)
            if int(sample.targets["class"]) >= 0
        ]
        if said.rejection.by == "none" or len(known) < 10:
            return self
        least = float(np.quantile(known, 1 - said.rejection.kept))
        changed = said.rejection.model_copy(update={"threshold": least})
        out = type(self)(
            said.model_copy(update={"rejection": changed}), calibration=self.calibration
        )
        out._tokenizer = self._tokenizer
        return out


def uncertainty(scores: NDArray[np.float64]) -> float:
    """``K / S`` of the Dirichlet distribution with ``a = softplus(s) + 1`` (RetiZero)."""
    alpha = np.logaddexp(0.0, scores) + 1
    return float(len(alpha) / alpha.sum())
