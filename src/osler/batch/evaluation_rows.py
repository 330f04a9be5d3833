"""What a bundle gives to the figures, case by case, kept as it comes."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from osler.batch.one import sentence
from osler.bundles import Bundle
from osler.bundles.answering import task_of
from osler.bundles.integrity import read_file
from osler.data.cohort import Cohort, Row
from osler.data.digest import row_digest
from osler.data.opening import open_row
from osler.data.taught import FILE as TAUGHT
from osler.data.taught import read_taught
from osler.errors import BundleError, OutputError, RecipeError
from osler.tasks.task import Task

if TYPE_CHECKING:
    from osler.record import Case

KEPT: Final = "rows.jsonl"
"""The rows of a run under way, a line each; removed when ``evaluation.json`` holds them."""

RESULT: Final = "evaluation.json"


@dataclass(slots=True)
class Judge:
    """A bundle that is judged.

    Attributes:
        bundle: the bundle.
        task: as its card describes it.
        sha256: digest of its card, which names the digest of every file; of a bundle of the
            fundus also of what is judged.
        taught: digest of a file to its role, as the bundle says; None where it does not say.
        note: what of the bundle's answers is not judged.
    """

    bundle: Bundle
    task: Task
    sha256: str = ""
    taught: dict[str, str] | None = None
    note: str = ""

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        cohort: Cohort,
        tasks: Sequence[type[Task]] = (),
        *,
        output: str | None = None,
    ) -> "Judge":
        """A bundle with its task.

        Args:
            bundle: of any task.
            cohort: on which it is judged; says which answers of a bundle of the fundus can be.
            tasks: tasks of one's own.
            output: which answer of a bundle of the fundus is judged.

        Raises:
            BundleError: its task is not known here, or its record of what taught it is damaged.
            RecipeError: the cohort has nothing to compare the answers of a bundle of the fundus
                with, or an output is named for another bundle.
        """
        card = bundle.card
        taught = None
        if TAUGHT in card.files:
            taught = read_taught(read_file(bundle.folder, card, TAUGHT), name=card.name)
        if card.preprocessing is not None:
            from osler.retina.judging import judged_by

            task, note = judged_by(bundle, cohort, output=output)
            said = json.dumps(settings_of(task)).encode()  # rows are of these labels alone
            digest = hashlib.sha256(card.to_json() + said).hexdigest()
            return cls(bundle, task, digest, taught, note)
        if output is not None:
            raise RecipeError(f"'{card.name}' has one answer; leave out the output '{output}'")
        digest = hashlib.sha256(card.to_json()).hexdigest()
        task = task_of(card, tasks=tasks)
        task.opened(bundle)
        return cls(bundle, task, digest, taught)

    def row(self, case: "Case") -> dict[str, Any]:
        """What the case gives to the figures, as JSON gives it back."""
        sample = self.task.encode(case, truth=True)
        outputs = self.task.calibrated(self.task.run(self.bundle.run, sample))
        said = self.task.judge(outputs, sample)
        plain: dict[str, Any] = json.loads(json.dumps(said, allow_nan=False))
        return plain


@dataclass(frozen=True, slots=True)
class Judged:
    """One case and what came of it.

    Attributes:
        row: of the cohort.
        sha256: digest of all that the cohort says of it; empty where a file cannot be read.
        rows: what it gives to the figures, one a bundle; empty where it could not be judged.
        why: why it could not be.
    """

    row: Row
    sha256: str
    rows: tuple[dict[str, Any], ...] = ()
    why: str = ""


@dataclass(slots=True)
class Kept:
    """Rows by bundle and case: of an earlier evaluation in the folder, and of one cut short.

    A row is taken up again only where bundle, files, values and labels are the same to the byte.
    """

    folder: Path | None
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            earlier = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
            for key in ("bundle", "against"):
                for case in earlier["cases"] if earlier[key] else ():
                    self.rows[earlier[key]["sha256"], case["sha256"]] = case[key]
        with contextlib.suppress(OSError):
            text = (self.folder / KEPT).read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                # the last line of a run that was killed may be half a line
                with contextlib.suppress(ValueError, LookupError, TypeError):
                    said = json.loads(line)
                    self.rows[said["bundle"], said["case"]] = said["row"]

    def get(self, judge: Judge, case: str) -> dict[str, Any] | None:
        """The row of a case that was judged before."""
        return self.rows.get((judge.sha256, case))

    def put(self, judge: Judge, case: str, row: dict[str, Any]) -> None:
        """Keep a row, on the disk too.

        Raises:
            OutputError: the folder cannot be written.
        """
        self.rows[judge.sha256, case] = row
        if self.folder is None:
            return
        line = json.dumps({"bundle": judge.sha256, "case": case, "row": row}, ensure_ascii=False)
        try:
            with (self.folder / KEPT).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise OutputError(f"'{self.folder}' cannot be written ({error.strerror})") from error

    def done(self) -> None:
        """Everything stands in the result."""
        if self.folder is not None:
            (self.folder / KEPT).unlink(missing_ok=True)


def judged(
    cohort: Cohort, judges: Sequence[Judge], kept: Kept, rows: Sequence[Row]
) -> Iterator[Judged]:
    """The cases one after the other; one is opened only when its turn comes.

    Args:
        cohort: for paths and messages.
        judges: one bundle or two, which get the same cases.
        kept: rows that need not be made again.
        rows: the cases.

    Raises:
        BundleError: a bundle is damaged.
        OutputError: rows cannot be kept.
    """
    for row in rows:
        digest = ""
        try:
            digest = row_digest(row, cohort.root)
            found = {n: kept.get(judge, digest) for n, judge in enumerate(judges)}
            if any(one is None for one in found.values()):
                case = open_row(row, cohort)
                for n, judge in enumerate(judges):
                    if found[n] is None:
                        found[n] = judge.row(case)
                        kept.put(judge, digest, found[n] or {})
        except (BundleError, OutputError):
            raise
        except Exception as error:  # noqa: BLE001 - one bad case must not end the others
            yield Judged(row, digest, why=sentence(error))
            continue
        yield Judged(row, digest, tuple(one or {} for one in found.values()))


def settings_of(task: Task) -> dict[str, Any]:
    """The settings of a task as plain JSON."""
    said: dict[str, Any] = task.settings.model_dump(mode="json")
    return said


def same_task(first: Judge, second: Judge) -> None:
    """Refuse to compare what does not answer the same question.

    Raises:
        BundleError: tasks or labels differ.
    """
    one, other = first.bundle.card, second.bundle.card
    if one.task != other.task:
        raise BundleError(
            f"'{one.name}' is a bundle of {one.task} and '{other.name}' of {other.task}; only "
            "bundles of one task can be compared"
        )
    labels = [_labels(judge.task.settings) for judge in (first, second)]
    if labels[0] != labels[1]:
        raise BundleError(
            f"'{one.name}' knows the labels {labels[0]} and '{other.name}' {labels[1]}; they must "
            "be the same, in the same order"
        )


def _labels(settings: Any) -> Sequence[str] | None:
    labels: Sequence[str] | None = getattr(settings, "labels", None)
    return labels


def missing_columns(judge: Judge, cohort: Cohort) -> list[str]:
    """Masks that a bundle draws and no case of the cohort has; without them nothing is judged."""
    labels = _labels(judge.task.settings)
    if not judge.task.masks or not labels:
        return []
    return [name for name in labels if name not in cohort.columns("labels")]


def roles(judges: Sequence[Judge], row: Row) -> Mapping[str, str]:
    """Name of a bundle to what the case did for it: ``"teach"`` or ``"tune"``."""
    from osler.data.taught import role_of

    found = {judge.bundle.card.name: role_of(row, judge.taught or {}) for judge in judges}
    return {name: role for name, role in found.items() if role}
