"""Bone ages as DICOM structured reports: Enhanced SR by TID 1500, Measurement Report. Needs the extra `clinic`.

The content tree (PS3.16 Annex A; codes and their sources: `codes`):

    Imaging Measurement Report                        TID 1500
      observer: the device                            TID 1002, 1004
      Subject Age: the chronological age              TID 1007
      Procedure reported
      Image Library                                   TID 1600, where the radiograph says what it asks for
      Imaging Measurements
        Measurement Group                             TID 1501
          Finding Site: hand, with its laterality
          algorithm: name, version, parameters        TID 4019
          Bone age                                    TID 300
            method; source image
            SD score, reference                       TID 311
            interval                                  TID 310: how far its ends lie above and below, and in words
          Quality Finding: one text for each flag
          Comment: one text for each notice
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from boneage_jax.clinical import codes
from boneage_jax.clinical.instance import own_attributes
from boneage_jax.clinical.measurement import AUTHORS, Measurement
from boneage_jax.clinical.source import concept, header, highdicom, refusing, with_least_character_set

if TYPE_CHECKING:
    import pydicom

SERIES_NUMBER = 9001
"""Of the report's series: above what machines use, so that it comes last in a study."""

_FOR_LIBRARY = ("Rows", "Columns", "PatientOrientation", "ImagerPixelSpacing")
"""Attributes that highdicom puts into the image library for radiographs (PS3.16 TID 1602, 1603)."""


def structured_report(measurement: Measurement, source: pydicom.Dataset) -> pydicom.Dataset:
    """Returns a report of a bone age, as a new series of the radiograph's study.

    The report is COMPLETE, for it holds all that was measured; UNVERIFIED, for no person has attested to it; and
    PRELIMINARY, for it precedes the report of a person (PS3.3 C.17.2).

    Args:
      measurement: what is reported.
      source: the radiograph that it was read from; its pixels are not needed.

    Raises:
      UserError: for a source that cannot be referred to, and where highdicom is not installed.
    """
    hd = highdicom()
    image = header(source)
    with refusing():
        group = _group(measurement, image)
        report = hd.sr.MeasurementReport(
            observation_context=_context(measurement),
            procedure_reported=concept(codes.PROCEDURE),
            imaging_measurements=[group],
            referenced_images=[image] if _fills_library(image) else None,
        )
        made = hd.sr.EnhancedSR(
            evidence=[image],
            content=report,
            **own_attributes(measurement, SERIES_NUMBER),
            is_complete=True,
            is_verified=False,
            is_final=False,
        )
    return with_least_character_set(made)


def device_uid(measurement: Measurement) -> str:
    """Returns a UID of the algorithm in its version (PS3.5 B.2): always the same for one, another for another."""
    return str(highdicom().UID.from_uuid(str(uuid.uuid5(uuid.NAMESPACE_OID, measurement.algorithm))))


def _context(measurement: Measurement) -> Any:
    """Returns who observed, and the subject's age."""
    sr = highdicom().sr
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(measurement),
        name=measurement.algorithm,
        manufacturer_name=AUTHORS,
        model_name=measurement.algorithm_name,
    )
    observer = sr.ObserverContext(
        observer_type=concept(codes.DEVICE),
        observer_identifying_attributes=device,
    )
    context = sr.ObservationContext(observer_device_context=observer)
    if measurement.chronological_months is not None:
        context.append(
            _number(codes.SUBJECT_AGE, measurement.chronological_months, codes.MONTHS, "HAS OBS CONTEXT"),
        )
    return context


def _group(measurement: Measurement, image: Any) -> Any:
    hd = highdicom()
    sr = hd.sr
    side = codes.SIDES.get(measurement.laterality)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=hd.UID(), identifier="bone age"),
        finding_sites=[sr.FindingSite(concept(codes.HAND), laterality=concept(side) if side else None)],
        algorithm_id=sr.AlgorithmIdentification(
            name=measurement.algorithm_name,
            version=measurement.algorithm_version,
            parameters=list(measurement.parameters),
            family=concept(codes.ARTIFICIAL_INTELLIGENCE),
        ),
        measurements=[_bone_age(measurement, image)],
    )
    # TID 1501 allows qualitative evaluations in words, for which highdicom has no argument.
    content = group[0].ContentSequence
    content.extend(_text(codes.QUALITY_FINDING, flag, "CONTAINS") for flag in measurement.findings)
    content.extend(_text(codes.COMMENT, said, "CONTAINS") for said in measurement.statements)
    return group


def _bone_age(measurement: Measurement, image: Any) -> Any:
    sr = highdicom().sr
    statistics = None
    if measurement.sd_score is not None:
        statistics = sr.MeasurementStatisticalProperties(
            values=[_number(codes.SD_SCORE, measurement.sd_score, codes.NO_UNITS, "HAS PROPERTIES")],
            authority=measurement.sd_reference,
        )
    properties = sr.MeasurementProperties(measurement_statistical_properties=statistics)
    if measurement.interval is not None:
        # Not highdicom's arguments for them: these have no unit.
        low, high = measurement.interval
        properties.append(_number(codes.ABOVE, high - measurement.months, codes.MONTHS, "HAS PROPERTIES"))
        properties.append(_number(codes.BELOW, measurement.months - low, codes.MONTHS, "HAS PROPERTIES"))
        properties.append(_text(codes.COMMENT, measurement.interval_text, "HAS PROPERTIES"))
    return sr.Measurement(
        name=concept(codes.BONE_AGE),
        value=float(measurement.months),
        unit=concept(codes.MONTHS),
        method=concept(codes.ARTIFICIAL_INTELLIGENCE),
        properties=properties,
        referenced_images=[sr.SourceImageForMeasurement(image.SOPClassUID, image.SOPInstanceUID)],
    )


def _number(name: codes.Code, value: float, unit: codes.Code, relationship: str) -> Any:
    return highdicom().sr.NumContentItem(
        name=concept(name), value=float(value), unit=concept(unit), relationship_type=relationship
    )


def _text(name: codes.Code, value: str, relationship: str) -> Any:
    return highdicom().sr.TextContentItem(name=concept(name), value=value, relationship_type=relationship)


def _fills_library(image: Any) -> bool:
    """Whether a radiograph states what the image library asks for; it is optional."""
    return image.get("Modality") in ("CR", "DX") and all(image.get(keyword) for keyword in _FOR_LIBRARY)
