"""Osler reads a patient's record with medical foundation models.

    case = osler.read("photo.jpg")      a file, interpreted: findings, measurements, sentences
    case["vessels"].mask                any finding by its id
    case.measurements                   every number, with its unit and its method
    osler.write(case, "out")            report.html, findings.json, masks and tables
    osler.write(case, "ct.nii.gz")      an image, signal, table or text in a format of the field
    osler.predict(BUNDLE, "ct/")        a bundle of one's own asked about a case
    osler.evaluate(BUNDLE, "cohort.csv")  every figure of it, with its interval
    osler.explain(BUNDLE, "photo.jpg")  why a model answered as it did, and how far to believe that
    osler.models.create(NAME, ...)      a published network; osler.models.list() says which

Importing this package loads nothing heavy: each verb fetches what it needs when it is called.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from osler import models
    from osler.batch.evaluation import Evaluation
    from osler.bundles import Bundle
    from osler.data.cohort import Cohort
    from osler.explain.explaining import Explanation
    from osler.explain.inputs import InputsExplanation
    from osler.io import Cases
    from osler.language.engine import Engine
    from osler.learn import Run
    from osler.learn.strategies.strategy import Strategy
    from osler.record import Case, Item
    from osler.retina.predict import Prediction
    from osler.tasks.task import Task

__version__ = "0.1.0"

__all__ = (
    "__version__",
    "evaluate",
    "explain",
    "fit",
    "load",
    "models",
    "predict",
    "read",
    "write",
)


def load(path: "str | Path | Mapping[str, Any]", **options: Any) -> "Case | Cases":
    """Open a file as a case, or a folder as the cases in it, without interpreting anything.

    Several files and values become one case where they are given by name, such as
    ``{"left": "left.jpg", "right": "right.jpg", "age": 61}``.

    A folder is sorted by patient and study from the headers alone: DICOM by its identifiers, other
    files one by one or by a ``pattern`` of their paths such as ``"{patient}/{eye}.jpg"``. Volumes
    and films stay in their files until their pixels are asked for.

    Args:
        path: a file of any kind that is read, a folder, or a DICOMDIR; or the URL of a study, a
            FHIR patient or a file, such as ``"dicomweb+https://pacs/dicom-web/studies/1.2.3"``,
            for which ``osler[network]`` must be installed; or a mapping of names to files, values
            (a number, a word) or items, for which see `osler.data.composing.composed`.
        options: what some formats take, as their errors name it, such as ``allow_tilt=True``; for
            a folder also ``pattern``, for a URL also ``token``, ``timeout`` and the like.

    Returns:
        A case: a photograph is ``case["photo"]``, a volume ``case["ct"]``; what could not be read
        is in ``case.left_out``. For a folder of several studies an iterable of cases, whose
        ``skipped`` says what was not understood and why.

    Raises:
        InputError: the file cannot be used; the message says why and what would help.
    """
    from osler import io

    if not isinstance(path, str | Path):
        from osler.data.composing import composed

        return composed(path, **options)
    return io.load(path, **options)


def read(path: str | Path, *, language: str = "en", engine: "str | Engine" = "none") -> "Case":
    """Open a fundus photograph and interpret it.

    Args:
        path: an image file, or a DICOM file.
        language: of the sentences, ``"en"`` or ``"zh"``.
        engine: what words a second report beside the one by rule, each sentence of it checked:
            ``"transformers:FOLDER"``, ``"llama.cpp:FILE.gguf"``,
            ``"openai:http://host:port/v1#MODEL"``, or one that is open.

    Returns:
        The case with its findings, each with its source and its evidence.

    Raises:
        InputError: the file cannot be used; the message says why and what would help.
        BundleError: a model that came with Osler is damaged.
    """
    from osler import io, retina

    case = retina.interpret(io.load_file(path), language=language)
    if engine != "none":
        from osler.language.drafting import draft
        from osler.language.engine import open_engine

        opened = open_engine(engine) if isinstance(engine, str) else engine
        if opened is not None:
            draft(case, opened, language=language)
    return case


def write(
    case: "Case | Item",
    out: str | Path,
    *,
    html: bool = True,
    dicom: bool = False,
    fhir: bool = False,
    item: str = "",
    masks: bool = False,
    findings: str = "",
    lossy: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a case to a file of a standard, or its findings into a folder of its own.

    A name with the extension of a format that is written (``"ct.nii.gz"``, ``"seg.dcm"``,
    ``"labs.parquet"``; ``docs/formats.md`` lists them and what each has no place for) is a file;
    anything else is a folder. Either appears whole or not at all.

    Args:
        case: a case; for a file also a single item, such as ``case["ct"]``.
        out: the file; or the folder that gets the case's folder, ``out/CASE``.
        html: in a folder, write ``report.html``.
        dicom: in a folder, write a DICOM segmentation and a structured report.
        fhir: in a folder, write an HL7 FHIR R4 transaction bundle.
        item: to a file, the item's name, where several would fit.
        masks: to a file, the masks: as a DICOM segmentation, or as one volume of labels.
        findings: to a ``.dcm``, what was found instead of the image: ``"seg"``, ``"sr"``,
            ``"rtstruct"`` or ``"gsps"``.
        lossy: to a file, let grey values change to what is displayed, where nothing else fits.
        overwrite: replace the file that lies there; a case's folder is always replaced.

    Returns:
        The file, or the case's folder.

    Raises:
        InputError: it is not said which item is meant, or an option is one of the other kind.
        OutputError: the file or folder cannot be written, or the values do not fit the format.
    """
    from osler import io
    from osler.errors import InputError
    from osler.io.case_file import is_file_name, write_file
    from osler.io.conversion import Plan
    from osler.record import Case

    if is_file_name(out):
        if dicom or fhir:
            raise InputError(
                f"'{out}' is one file, and dicom= and fhir= write files into a folder; give a "
                "folder, or findings='sr' for a report"
            )
        plan = Plan(item=item, masks=masks, findings=findings, lossy=lossy, overwrite=overwrite)
        return write_file(case, out, plan)
    if item or masks or findings or lossy or overwrite or not isinstance(case, Case):
        raise InputError(
            f"'{out}' is a folder, which takes the findings of a whole case; name a file, such as "
            "'ct.nii.gz', to write an item"
        )
    return io.write(case, out, html=html, dicom=dicom, fhir=fhir)


def predict(
    bundle: "str | Path | Bundle",
    source: "str | Path | Case | Mapping[str, Any]",
    *,
    tasks: "Sequence[type[Task]]" = (),
    contributions: bool = True,
) -> "Prediction | Case":
    """Ask one bundle alone about one case.

    Args:
        bundle: the name of a shipped bundle, the path of one, or a loaded one.
        source: a file, a folder that holds one case (such as a DICOM series), a row of a cohort
            (``"cohort.csv#CASE"``), a case, or its parts by name as for `load`.
        tasks: tasks of one's own, beside those of Osler.
        contributions: of an answer from several inputs, also say what each contributed; it takes
            a run of the network for every subset of them.

    Returns:
        Of a bundle that reads photographs of the fundus the masks and probabilities in native
        size, or the probabilities of each label. Of any other the case with what was found, in
        its native grid: ``case["liver"].mask``; ``osler.write`` takes it.

    Raises:
        BundleError: the bundle is damaged, unsafe or of an unknown version, or its task is not
            known here.
        InputError: the file cannot be used, or the case lacks what the bundle looks at.
    """
    from osler import bundles, io

    if isinstance(bundle, str | Path):
        bundle = bundles.load(bundle)
    from osler.batch.asking import ask, one_case

    if bundle.card.preprocessing is not None:
        from osler.retina import predict as one

        case = io.load_file(source) if isinstance(source, str | Path) else one_case(source)
        return one.predict(bundle, case)
    return ask(bundle, one_case(source), tasks=tasks, contributions=contributions)


def evaluate(
    bundle: "str | Path | Bundle",
    cohort: "str | Path | Cohort",
    *,
    out: str | Path | None = None,
    split: str | None = None,
    fold: int | None = None,
    against: "str | Path | Bundle | None" = None,
    output: str | None = None,
    subgroups: "Sequence[str]" = (),
    replicates: int = 2000,
    seed: int = 1,
    include_taught: bool = False,
    tasks: "Sequence[type[Task]]" = (),
) -> "Evaluation":
    """Judge a bundle on a cohort: every figure with its interval by patient.

    Args:
        bundle: a bundle of any task.
        cohort: a table of cases, a data set that ``osler data import`` takes, or a loaded cohort.
        out: the folder for ``evaluation.json``, from which every figure can be computed again,
            and ``evaluation.html``; None writes nothing.
        split: only the part of this name.
        fold: only this fold.
        against: another bundle, compared on the same cases.
        output: which answer is judged, of a bundle of the fundus that has several.
        subgroups: columns by which figures are told apart.
        replicates: resamples of each interval.
        seed: of the resamples.
        include_taught: also judge cases that taught or tuned the bundle.
        tasks: tasks of one's own, beside those of Osler.

    Returns:
        The figures, and what was left out and why.

    Raises:
        BundleError: a bundle is damaged, or its task is not known here.
        RecipeError: the cohort has no such part, column or label.
        InputError: no case could be judged.
        OutputError: the folder cannot be written.
    """
    from osler.batch import evaluation

    return evaluation.evaluate(
        bundle, cohort, out=out, split=split, fold=fold, against=against, output=output,
        subgroups=subgroups, replicates=replicates, seed=seed, include_taught=include_taught,
        tasks=tasks,
    )  # fmt: skip


def explain(
    bundle: "str | Path | Bundle | Any",
    source: "str | Path | Case | Mapping[str, Any]",
    *,
    method: str | None = None,
    label: str | None = None,
    layer: str | None = None,
) -> "Explanation | InputsExplanation":
    """Say where an answer comes from, how far that can be believed, and on what evidence.

    A photograph of the fundus is read first, so that the path from its lesions to a grade stands
    beside the map.

    Args:
        bundle: the name of a shipped bundle, the path of one, a loaded one; or a network of
            ``osler.models`` (or its folder, from ``osler models import``).
        source: a file, a row of a cohort (``"cohort.csv#CASE"``), a case, or its parts by name.
        method: such as ``"occlusion"`` (any bundle), ``"grad-cam"``, ``"integrated-gradients"`` or
            ``"attention-rollout"`` (networks); ``osler.explain.METHODS`` has all.
        label: the answer to explain; None takes the one that is given.
        layer: of a class activation map; None finds one.

    Returns:
        The map in the native grid with its faithfulness, and the evidence; ``write`` keeps it. Of
        a bundle of several named inputs, what each contributed to each answer.

    Raises:
        RecipeError: there is no such method, label or layer, or it does not fit the model.
        BundleError: the bundle is damaged, unsafe or of an unknown version.
        InputError: the file cannot be used.
    """
    from osler import retina
    from osler.batch.asking import one_case
    from osler.explain import explaining
    from osler.record import Case

    model = explaining.opened(bundle)
    case = source if isinstance(source, Case) else one_case(source)
    if explaining.reads_fundus(model) and "photograph" not in case:
        retina.interpret(case)
    network = None
    if explaining.looks_inside(model, method):
        try:
            from osler.learn.opening import network_of
        except ImportError as error:
            from osler.errors import MissingExtraError

            raise MissingExtraError(
                "torch", extra="train", purpose="look inside a network"
            ) from error
        network = network_of(model)
    return explaining.explain(model, case, method=method, label=label, layer=layer, network=network)


def fit(
    recipe: "str | Path | Mapping[str, Any]",
    *,
    out: str | Path | None = None,
    resume: bool = False,
    tasks: "Sequence[type[Task]]" = (),
    strategies: "Sequence[type[Strategy]]" = (),
) -> "Run":
    """Train a bundle by a recipe; needs the extra ``osler[train]``.

    Args:
        recipe: a YAML file such as those under ``recipes/``, or its keys (then paths are relative
            to the current folder).
        out: the folder of the run; None takes ``runs/NAME``.
        resume: go on from the last checkpoint in ``out``.
        tasks: tasks of one's own, beside those of Osler.
        strategies: ways to learn of one's own, likewise.

    Returns:
        What came of it: metrics with intervals, and the bundle.

    Raises:
        MissingExtraError: torch is not installed.
        RecipeError: the recipe is wrong; the message names the key.
    """
    from importlib.util import find_spec

    from osler.errors import MissingExtraError

    if find_spec("torch") is None:
        raise MissingExtraError("torch", extra="train", purpose="train a bundle")
    from osler import learn

    return learn.fit(recipe, out=out, resume=resume, tasks=tasks, strategies=strategies)


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("osler.models")
    raise AttributeError(f"module 'osler' has no attribute '{name}'")
