"""What every object that is made here says of itself: its series, its maker, its time. Needs the extra `clinic`."""

from __future__ import annotations

import datetime
from typing import Any

from boneage_jax.clinical.measurement import AUTHORS, Measurement, Unmeasured
from boneage_jax.clinical.source import highdicom

DESCRIPTION = "Bone age, research software, not a medical device"
"""Of the series of reports and pictures."""


def own_attributes(measurement: Measurement | Unmeasured, series_number: int) -> dict[str, Any]:
    """Returns the arguments by which highdicom makes the only object of a new series, now.

    Args:
      measurement: what is reported, or why no age is; its algorithm is named as the machine.
      series_number: of the series.

    Raises:
      UserError: where highdicom is not installed.
    """
    hd = highdicom()
    now = datetime.datetime.now()
    return {
        "series_instance_uid": hd.UID(),
        "series_number": series_number,
        "series_description": DESCRIPTION,
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": AUTHORS,
        "manufacturer_model_name": measurement.algorithm_name,
        "software_versions": measurement.algorithm_version,
        "series_date": now.date(),
        "series_time": now.time(),
        "content_date": now.date(),
        "content_time": now.time(),
        "specific_character_set": "ISO_IR 192",
    }
