"""Batches from processes of their own."""

import re

import pytest
import torch
from torch.utils.data import Dataset

from sammed3d.errors import VolumeError
from sammed3d.training.loading import loaded


class Squares(Dataset):
    """Squares of what is asked for; of 3 there is none."""

    def __getitem__(self, which):
        if which == 3:
            raise VolumeError("three.nii.gz: cannot be read. Leave it out.")
        return {"square": which**2}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_reason_to_stop_arrives_as_it_was_said(workers):
    batches = loaded(Squares(), [[1, 2], [3, 4]], workers)
    assert torch.equal(next(batches)["square"], torch.tensor([1, 4]))
    with pytest.raises(VolumeError, match=rf"^{re.escape('three.nii.gz: cannot be read. Leave it out.')}$"):
        next(batches)
