"""What a user should know of an image that was sent comes with it, under the name that it was sent by."""

import warnings

import numpy as np
import pytest

from helpers import small_volume, write_image
from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.web.images import with_cautions
from sammed3d.web.uploads import Incoming, read


def sent(folder, *files):
    (arrived := folder / "arrived").mkdir()
    incoming = Incoming(arrived)
    for name, content in files:
        incoming.begin(name).write_bytes(content)
    return lambda: read(incoming.files, folder)


def test_a_warning_names_the_file_as_it_was_sent(tmp_path):
    volume = small_volume((9, 8, 7))
    voxels = volume.array.astype(np.float32)
    voxels[:2] = np.nan
    write_image(path := tmp_path / "made.nii", voxels, volume.grid.index_to_world)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is told, not written to the server's terminal
        found, cautions = with_cautions(sent(tmp_path, ("knee.nii", path.read_bytes())))
    assert found.name == "knee.nii"
    assert cautions == (f"knee.nii: 112 NaN or infinite voxels were treated as the smallest value ({found.lowest:g}).",)


def test_other_warnings_stay_what_they_are():
    def read_it():
        warnings.warn("of the image", VolumeWarning, stacklevel=1)
        warnings.warn("of a library", DeprecationWarning, stacklevel=1)
        return small_volume((9, 8, 7))

    with pytest.warns(DeprecationWarning, match=r"of a library"):
        assert with_cautions(read_it)[1] == ("of the image",)


def test_a_file_without_an_ending_is_told_by_what_it_holds(tmp_path):
    volume = small_volume((9, 8, 7))
    write_image(path := tmp_path / "made.nii", volume.array, volume.grid.index_to_world)
    with pytest.raises(VolumeError, match=r"^knee: NIfTI by what it holds, but not by its name\. Rename it"):
        sent(tmp_path, ("knee", path.read_bytes()))()
