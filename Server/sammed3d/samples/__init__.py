"""Sample data that ships with the package. Origin and licence: NOTICE in the source tree.

`ct_abdomen`: CT of the trunk, 122 x 101 x 112 voxels of 3 mm, with 60 labels (output of TotalSegmentator).
`mr_spine`: T2-weighted MR of two lumbar vertebrae, 68 x 52 x 67 voxels of 1.5 mm (from TPTBox).
`sam_med2d_small`: a toy, a small SAM-Med2D that learned from slices of `ct_abdomen` (docs/make_sample_model.py).
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent
CT_ABDOMEN = FOLDER / "ct_abdomen.nii.gz"
MR_SPINE = FOLDER / "mr_spine.nii.gz"
SAM_MED2D_SMALL = FOLDER / "sam_med2d_small.safetensors"
CT_ABDOMEN_LABELS = FOLDER / "ct_abdomen_labels.nii.gz"


def label_names() -> dict[str, int]:
    """Return the structures of `CT_ABDOMEN_LABELS`: name -> value in the label map."""
    names = json.loads((FOLDER / "ct_abdomen_labels.json").read_text(encoding="utf-8"))
    return {name: int(value) for value, name in names.items()}
