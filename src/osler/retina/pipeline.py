"""The reading of a fundus photograph, step after step; each leaves findings for the next."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from osler import __version__, bundles
from osler.bundles import Bundle, threads
from osler.errors import InputError
from osler.record import Case, Event, Image
from osler.retina import anatomy, field, grade, lesions, quality, vessels
from osler.retina.plausible import doubts, is_grey, needs_anatomy
from osler.retina.predict import Prediction, predict
from osler.tasks.canvas import rgb
from osler.tasks.field import Field

ITEM = "photo"
BUNDLES = (
    "retina-quality",
    "retina-anatomy",
    "retina-vessels",
    "retina-artery-vein",
    "retina-lesions",
    "retina-dr",
)
_HEAVY = ("retina-vessels", "retina-lesions", "retina-artery-vein")  # what needs another after it


def interpret(case: Case, *, language: str = "en") -> Case:
    """Read a case's photograph and add everything found to the case.

    What is not a fundus photograph gets no further than that statement. A photograph of rejected
    quality, without colour, or of few pixels is described and measured as far as that goes, but
    never graded.

    Args:
        case: has the image item ``photo``.
        language: of the statements, ``"en"`` or ``"zh"``.

    Returns:
        The same case.

    Raises:
        InputError: the case has no photograph, or there are no words in this language.
        BundleError: a shipped bundle is damaged.
    """
    from osler.retina.biomarkers import measure
    from osler.retina.narrative import check_language, narrate

    check_language(language)
    if not isinstance(case.items.get(ITEM), Image):
        there = ", ".join(
            f"{type(item).__name__.lower()} '{name}'" for name, item in case.items.items()
        )
        raise InputError(
            f"case '{case.id}' is no photograph; it holds {there or 'nothing'}. Only photographs "
            "of the eye are interpreted: 'osler info', 'osler convert' and 'osler view' open it"
        )
    with _step(case, "retina.field"):
        seen = field.locate_field(case, item=ITEM)
    with _step(case, "retina.quality", "retina-quality"):
        fundus, worth, gradable = first_look(case, seen)
    if fundus:
        with _Ahead(case, seen) as ahead:
            with _step(case, "retina.anatomy", "retina-anatomy"):
                bundle = bundles.load("retina-anatomy")
                said = predict(bundle, case, item=ITEM, field=seen)
                anatomy.describe_anatomy(case, bundle, said, item=ITEM)
            with _step(case, "retina.vessels", "retina-vessels"):
                vessels.trace_vessels(case, *ahead.take("retina-vessels"))
            with _step(case, "retina.vessels", "retina-artery-vein"):
                vessels.tell_arteries(case, *ahead.take("retina-artery-vein"))
            with _step(case, "retina.lesions", "retina-lesions"):
                bundle, said = ahead.take("retina-lesions")
                lesions.find_lesions(case, bundle, said, item=ITEM)
        if worth != "reject" and gradable:
            with _step(case, "retina.grade", "retina-dr"):
                bundle = bundles.load("retina-dr")
                given = {"retina-lesions": said}
                grading = predict(bundle, case, item=ITEM, field=seen, given=given)
                grade.grade(case, bundle, grading, item=ITEM)
        with _step(case, "retina.biomarkers"):
            measure(case, item=ITEM)
    with _step(case, "retina.narrative"):
        narrate(case, language=language)
    return case


class _Ahead:
    """Runs the heavy bundles in threads while the case is described with what is there already.

    None of them reads the case's findings, so their order does not matter; what they say is taken
    in the order of the steps. Where one core is all there is, each runs when it is asked for.
    """

    def __init__(self, case: Case, seen: Field) -> None:
        self._case, self._seen = case, seen
        self._said: dict[str, Prediction] = {}
        self._pool = ThreadPoolExecutor(2, "osler-bundles") if threads() > 1 else None
        self._coming: dict[str, Future[Prediction]] = {}
        if self._pool is not None:
            for name in _HEAVY:
                self._coming[name] = self._pool.submit(self._predict, name)

    def take(self, name: str) -> tuple[Bundle, Prediction]:
        """The bundle and what it says; waits for it."""
        if name in self._coming:
            self._said[name] = self._coming[name].result()
        else:
            self._said[name] = self._predict(name)
        return bundles.load(name), self._said[name]

    def _predict(self, name: str) -> Prediction:
        bundle = bundles.load(name)
        given = {}
        for needed in bundle.card.requires:  # began before, so that no thread waits in vain
            if needed in self._said:
                given[needed] = self._said[needed]
            elif needed in self._coming:
                given[needed] = self._coming[needed].result()
        return predict(bundle, self._case, item=ITEM, field=self._seen, given=given)

    def __enter__(self) -> "_Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def first_look(case: Case, seen: Field) -> tuple[bool, str, bool]:
    """Step 2: add ``photograph`` and ``quality`` to a case that has ``field``.

    Args:
        case: the case.
        seen: its field of view.

    Returns:
        Whether it is a fundus photograph, its quality, and whether its colours and pixels are
        enough for a grade.
    """
    bundle = bundles.load("retina-quality")
    said = predict(bundle, case, item=ITEM, field=seen)
    pixels = rgb(case.image(ITEM))
    shown = None
    if needs_anatomy(pixels, seen):
        shown = predict(bundles.load("retina-anatomy"), case, item=ITEM, field=seen)
    likely = said.probabilities["photograph"][quality.FUNDUS]
    against = doubts(pixels, seen, likely=likely, anatomy=shown)
    grey = is_grey(pixels, seen)
    coarse = 2 * seen.radius < quality.COARSE
    kind, worth = quality.judge(
        case, bundle, said, item=ITEM, doubts=against, grey=grey, coarse=coarse
    )
    return kind == quality.FUNDUS, worth, not (grey or coarse)


@contextmanager
def _step(case: Case, step: str, bundle: str | None = None) -> Iterator[None]:
    # of a bundle that ran ahead, what is left to wait for it
    begun = time.perf_counter()
    yield
    by = f"{bundle} {bundles.load(bundle).card.version}" if bundle else f"osler {__version__}"
    case.history.append(Event(step, by, round(time.perf_counter() - begun, 3)))
