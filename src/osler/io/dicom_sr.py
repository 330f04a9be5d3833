"""Measurements and labels as a DICOM Structured Report, TID 1500 "Measurement Report" [1].

A group of measurements stands for each structure that has a segment, and points at it. A group
of the whole photograph takes what belongs to no one structure, and each label has a group of its
own, since each has its own algorithm. What was not computed has no number: a text says why, and in
what unit it would be.

1. DICOM PS3.16, TID 1500, 1410 and 1501.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.errors import OutputError
from osler.io import identity
from osler.io.dicom_codes import slug
from osler.io.dicom_context import sources, write_dataset
from osler.io.dicom_photo import side_of, source_dataset
from osler.io.dicom_seg import build_seg, coded, segmented, stamp
from osler.io.dicom_sr_parts import (
    ENGLISH,
    algorithm,
    chance,
    chances,
    doubt,
    observer,
    remark,
    spoken,
    words,
)
from osler.io.dicom_sr_regions import can_be_region, regions
from osler.io.html_draft import by_rule
from osler.record import (
    Box,
    Case,
    Contour,
    Finding,
    Image,
    Label,
    Laterality,
    Mask,
    Measurement,
    Passage,
    Point,
    vocab,
)
from osler.record.finding import describe

if TYPE_CHECKING:
    from highdicom.sr import ComprehensiveSR
    from pydicom.dataset import Dataset

FILE = "report.dcm"
_ALIASES = {
    "all": "vessels",
    "crae": "artery",
    "crae-um": "artery",
    "crve": "vein",
    "crve-um": "vein",
}
"""Parts of a measurement's id to the mask that they speak of, where it has another name."""


class NothingToReportError(OutputError):
    """Nothing is said of an image that a report holds, such as where no object was found."""


def write_sr(
    case: Case,
    folder: Path,
    *,
    seg: "Dataset | None" = None,
    item: str = "photo",
    source: "Dataset | None" = None,
) -> Path:
    """Write the measurements and labels of an image as ``report.dcm``.

    Args:
        case: the case.
        folder: an existing folder.
        seg: the segmentation that holds the case's masks, made where it is not given.
        item: name of the image.
        source: the data set that stands for the image, made where it is not given.

    Raises:
        NothingToReportError: nothing is said of the image that a report holds.
        OutputError: a mask is not of the image's shape ``(H, W)``.
    """
    path = folder / FILE
    build_sr(case, seg=seg, item=item, source=source).save_as(path)
    return path


def build_sr(
    case: Case,
    *,
    seg: "Dataset | None" = None,
    item: str = "photo",
    source: "Dataset | None" = None,
) -> "ComprehensiveSR":
    """The data set of ``write_sr``."""
    source = source if source is not None else source_dataset(case, item=item)
    if seg is None:
        seg = build_seg(case, item=item, source=source)
    writer = _Writer(case, item, source, seg, _key(case, str(source.SOPInstanceUID)))
    return _document(writer, [source] if seg is None else [source, seg])


def write_measurements(
    case: Case, path: str | Path, *, item: str | None = None, seg: str | Path | None = None
) -> Path:
    """Write what is said of an image or volume from DICOM as a measurement report (TID 1500).

    Args:
        case: the case.
        path: the file, which appears whole or not at all.
        item: name of the image; the first of the case by default.
        seg: the segmentation that holds the masks, as ``write_segmentation`` wrote it; what is
            said of a mask then points at its segment.

    Returns:
        The path.

    Raises:
        InputError: the case has no such image.
        OutputError: the image came from no DICOM file, or the file cannot be written.
    """
    import pydicom

    images = [n for n, i in case.items.items() if isinstance(i, Image) and i.modality != "SEG"]
    name = item or next(iter(images), "photo")
    evidence = sources(case.image(name))
    segments = None if seg is None else pydicom.dcmread(seg, stop_before_pixels=True)
    writer = _Writer(
        case, name, evidence[0], segments, _key(case, evidence[0].SOPInstanceUID), tuple(evidence)
    )
    ds = _document(writer, [*evidence, segments] if segments is not None else evidence)
    write_dataset(ds, Path(path))
    return Path(path)


def _document(writer: "_Writer", evidence: "list[Dataset]") -> "ComprehensiveSR":
    from highdicom.sr import ComprehensiveSR, MeasurementReport

    groups, statements = list(writer.groups()), writer.statements()
    if not groups and not statements:
        raise NothingToReportError(
            f"nothing is said of image '{writer.item}' that a report holds: no measurements, "
            "labels, points, boxes or passages; masks go into a segmentation"
        )
    report = MeasurementReport(
        language_of_content_item_and_descendants=spoken(ENGLISH),
        observation_context=observer(writer.case),
        procedure_reported=coded(vocab.IMAGING_PROCEDURE),
        imaging_measurements=groups or [writer.nothing()],
    )
    if not groups:  # words alone are a report too (TID 1500, row 12), which highdicom cannot say
        report[0].ContentSequence.pop()
    report[0].ContentSequence.extend(statements)
    sr = ComprehensiveSR(
        evidence=evidence,
        content=report[0],
        series_instance_uid=identity.uid(writer.key, "report", "series"),
        series_number=102,
        sop_instance_uid=identity.uid(writer.key, "report"),
        instance_number=1,
        manufacturer="Osler",
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description="Osler measurements",
        specific_character_set="ISO_IR 192",
    )
    sr.SoftwareVersions = identity.version()
    stamp(sr, writer.case)
    return sr


def _key(case: Case, source_uid: str) -> str:
    """Names the content: another result is another object, the same one keeps its UID."""
    said = [describe(f) for f in case.findings.values()]
    text = json.dumps([source_uid, said], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class _Group:
    """What is said of one structure: its mask, point or line if it has one, and the numbers."""

    subject: Finding | None
    measurements: list[Measurement] = field(default_factory=list)


@dataclass(frozen=True)
class _Writer:
    case: Case
    item: str
    source: "Dataset"
    seg: "Dataset | None"
    key: str
    slices: "tuple[Dataset, ...]" = ()
    """The instances of a volume, in the order of its planes; empty for a photograph."""

    @property
    def eye(self) -> bool:
        """Whether the image shows the retina, so that a site that is not said is the eye."""
        return not self.slices or self.case.image(self.item).modality in ("OP", "OPT")

    @property
    def side(self) -> Laterality | None:
        if not self.eye:
            return self.case.image(self.item).laterality
        return side_of(self.case, item=self.item)

    def _segments(self) -> dict[str, int]:
        """Id of a mask to the number of its segment."""
        if self.slices:
            listed = self.seg.SegmentSequence if self.seg is not None else ()
            return {str(s.get("TrackingID", "")): int(s.SegmentNumber) for s in listed}
        if self.seg is None:
            return {}
        return {m.id: n for n, m in enumerate(segmented(self.case, item=self.item), 1)}

    def _drawn(self) -> list[Mask]:
        if not self.slices:
            return segmented(self.case, item=self.item)
        known = self._segments()
        return [m for m in self.case.of(Mask) if m.item in (self.item, None) and m.id in known]

    def groups(self) -> Iterator[Any]:
        for group in self._sorted():
            yield self._group(group)
        for label in self.case.of(Label):
            if label.item in (self.item, None):
                yield self._label(label)

    def nothing(self) -> Any:
        """A group without content, to be taken out again."""
        from highdicom.sr import MeasurementsAndQualitativeEvaluations

        return MeasurementsAndQualitativeEvaluations(tracking_identifier=self._tracking("none"))

    def _sorted(self) -> list[_Group]:
        """The measurements under the structure that each is about, in the findings' order."""
        image = self.case.image(self.item)
        drawn: list[Mask | Point | Contour | Box] = []
        drawn += self._drawn()
        drawn += [p for p in self.case.of(Point) if p.item in (self.item, None)]
        drawn += [c for c in self.case.of(Contour) if can_be_region(c, image)]
        drawn += [b for b in self.case.of(Box) if can_be_region(b, image)]
        groups = {f.id: _Group(f) for f in drawn}
        whole = _Group(None)
        for measurement in self.case.measurements.values():
            if measurement.item not in (self.item, None):
                continue
            subject = self._subject(measurement)
            if subject is None:
                whole.measurements.append(measurement)
            else:
                groups.setdefault(subject.id, _Group(subject)).measurements.append(measurement)
        return [*groups.values(), *([whole] if whole.measurements else [])]

    def _subject(self, measurement: Measurement) -> Finding | None:
        """The mask that a measurement is about, by its id and else by its evidence."""
        for part in (*measurement.id.split(".")[1:], measurement.id.split(".")[0]):
            finding = self.case.get(_ALIASES.get(part, part), Mask)
            if finding is not None and vocab.region(part) is None:
                return finding
        shown = (self.case.findings.get(i) for i in measurement.evidence)
        return next((f for f in shown if self._has_group(f)), None)

    def _has_group(self, finding: Finding | None) -> bool:
        if isinstance(finding, Box | Contour):
            return can_be_region(finding, self.case.image(self.item))
        return isinstance(finding, Mask)

    def _group(self, group: _Group) -> Any:
        import highdicom.sr as hd

        subject = group.subject
        sources = {m.source for m in group.measurements}
        if subject is not None and not sources:
            sources = {subject.source}
        one = len(sources) == 1  # else each measurement names its own
        shared: dict[str, Any] = {
            "tracking_identifier": self._tracking(subject.id if subject else self.item),
            "algorithm_id": algorithm(sources.pop()) if one else None,
            "measurements": [
                self._measurement(m, named=not one)
                for m in group.measurements
                if m.value is not None
            ],
        }
        if subject is None:
            shared["finding_sites"] = self._sites(None, vocab.EYE)
        else:
            # boxes of a kind are many, and their ids are numbered
            kind = slug(subject.name) if isinstance(subject, Box) else subject.id
            shown = vocab.structure(kind, subject.name)
            shared["finding_type"] = coded(subject.code or shown.type)
            category = subject.category if isinstance(subject, Mask) else None
            shared["finding_category"] = coded(category or shown.category)
            shared["finding_sites"] = self._sites(subject, shown.site)
            shared["qualitative_evaluations"] = [doubt(f) for f in subject.flags]
        if isinstance(subject, Box) and subject.probability is not None:
            shared["measurements"].append(chance(vocab.PROBABILITY, subject.probability))
        region = self._region(subject)
        built: Any
        volume = "referenced_regions" in region or isinstance(
            region.get("referenced_segment"), hd.ReferencedSegment
        )
        if volume:
            built = hd.VolumetricROIMeasurementsAndQualitativeEvaluations(**shared, **region)
        elif region:
            built = hd.PlanarROIMeasurementsAndQualitativeEvaluations(**shared, **region)
        else:
            built = hd.MeasurementsAndQualitativeEvaluations(**shared, source_images=self._images())
        for measurement in group.measurements:
            if measurement.value is None:
                reason = f"not computed: {measurement.reason}"
                built[0].ContentSequence.append(remark(measurement, reason, unit=measurement.unit))
            for said in filter(None, (*measurement.flags, measurement.note)):
                built[0].ContentSequence.append(remark(measurement, said))
        return built

    def _region(self, subject: Finding | None) -> dict[str, Any]:
        """Where a structure lies: its segment's frame, or a point or line in the image."""
        import highdicom.sr as hd

        if isinstance(subject, Point | Contour | Box):
            image = self.case.image(self.item)
            return regions(subject, image, self.source, self.slices)
        uids = (self.source.SOPClassUID, self.source.SOPInstanceUID)
        segments = self._segments()
        if self.seg is None or subject is None or subject.id not in segments:
            return {}
        number = segments[subject.id]
        if self.slices:
            series = hd.SourceSeriesForSegmentation(self.source.SeriesInstanceUID)
            whole = hd.ReferencedSegment(
                self.seg.SOPClassUID, self.seg.SOPInstanceUID, number, source_series=series
            )
            return {"referenced_segment": whole}
        # one frame a segment, in the same order
        frame = hd.ReferencedSegmentationFrame(
            self.seg.SOPClassUID,
            self.seg.SOPInstanceUID,
            frame_number=number,
            segment_number=number,
            source_image=hd.SourceImageForSegmentation(*uids),
        )
        # PS3.3, table 10-3: a reference names frames or segments, not both; the segment has one
        del frame[0].ReferencedSOPSequence[0].ReferencedFrameNumber
        return {"referenced_segment": frame}

    def _measurement(self, measurement: Measurement, *, named: bool) -> Any:
        import highdicom.sr as hd

        assert measurement.value is not None
        region, method = (
            vocab.region(measurement.id, measurement.region),
            vocab.method(measurement.id),
        )
        site = self._site(measurement.site or vocab.RETINA, region) if region else None
        return hd.Measurement(
            name=coded(measurement.code or vocab.measure(measurement.id, measurement.name)),
            value=float(measurement.value),
            unit=coded(vocab.unit(measurement.unit)),
            tracking_identifier=self._tracking(measurement.id),
            algorithm_id=algorithm(measurement.source) if named else None,
            method=coded(method) if method else None,
            finding_sites=[site] if site else None,
        )

    def _label(self, label: Label) -> Any:
        import highdicom.sr as hd

        said = coded(label.code or vocab.label(label.id, label.name))
        answers = [(said, coded(vocab.value(label.id, label.value, label.meaning)))]
        for value in label.prediction_set:
            name = vocab.PREDICTION_SET.meaning + f" at {label.coverage:.0%}" * bool(label.coverage)
            meaning = label.meanings.get(value, value)
            answers.append(
                (
                    coded(vocab.local(vocab.PREDICTION_SET.value, name)),
                    coded(vocab.value(label.id, value, meaning)),
                )
            )
        return hd.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(label.id),
            finding_type=said,
            algorithm_id=algorithm(label.source),
            finding_sites=self._sites(label, vocab.RETINA),
            measurements=[self._probability(label, v, p) for v, p in chances(label)],
            qualitative_evaluations=[
                *(hd.QualitativeEvaluation(name, value) for name, value in answers),
                *(doubt(flag) for flag in label.flags),
            ],
            source_images=self._images(),
        )

    def _probability(self, label: Label, value: str, probability: float) -> Any:
        code = vocab.value(label.id, value, label.meanings.get(value, value))
        name = vocab.local(f"p-{label.id}-{value}", f"Probability of {code.meaning}")
        if value == label.value and value not in label.probabilities:
            name = vocab.PROBABILITY
        return chance(name, probability)

    def statements(self) -> list[Any]:
        """The report in words, as the qualitative evaluations of the document."""
        # what a language engine worded stays out of what the hospital keeps
        said = [p for p in self.case.of(Passage) if by_rule(p)]
        passages = [p for p in said if p.item in (self.item, None)]
        return [words(passages)] if passages else []

    def _tracking(self, id: str) -> Any:
        from highdicom.sr import TrackingIdentifier

        return TrackingIdentifier(uid=identity.uid(self.key, "report", id), identifier=id)

    def _sites(self, about: Finding | None, retinal: Any) -> list[Any] | None:
        """Where a finding lies: as it says, else in the retina if the image shows one."""
        said = about.site if about is not None else None
        if said is None and not self.eye:
            return None
        side = about.laterality if about is not None and not self.eye else None
        return [self._site(said or retinal, side=side)]

    def _site(self, site: Any, modifier: Any = None, *, side: Laterality | None = None) -> Any:
        from highdicom.sr import FindingSite

        side = side or self.side
        return FindingSite(
            coded(site),
            laterality=coded(vocab.side(side)) if side else None,
            topographical_modifier=coded(modifier) if modifier else None,
        )

    def _images(self) -> list[Any] | None:
        """The image that numbers come from; of a series the evidence names every slice."""
        from highdicom.sr import SourceImageForMeasurementGroup

        if len(self.slices) > 1:
            return None
        return [SourceImageForMeasurementGroup(self.source.SOPClassUID, self.source.SOPInstanceUID)]
