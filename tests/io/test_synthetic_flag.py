"""An image that nobody measured says so in the file that it is written to."""

import numpy as np
import pytest

from osler import io
from osler.io.metaimage_out import write_metaimage
from osler.io.nifti_out import write_nifti
from osler.io.nrrd_out import write_nrrd
from osler.io.raster_out import write_png, write_tiff
from osler.record import Image

WRITERS = {".nrrd": write_nrrd, ".nii.gz": write_nifti, ".mha": write_metaimage}


@pytest.mark.parametrize("suffix", list(WRITERS))
@pytest.mark.parametrize("flags", [(), ("synthetic",)])
def test_the_flag_comes_back(tmp_path, suffix, flags):
    array = np.arange(60, dtype=np.uint8).reshape(1, 3, 4, 5)
    image = Image("volume", array, spacing=(1.0, 1.0, 1.0), affine=np.eye(4), flags=flags)
    path = WRITERS[suffix](image, tmp_path / f"x{suffix}")
    (again,) = io.load_file(path).items.values()
    assert ("synthetic" in again.flags) == bool(flags)
    assert np.array_equal(again.array, array)


@pytest.mark.parametrize("flags", [(), ("synthetic",)])
def test_pictures_say_it_where_their_format_keeps_words(tmp_path, flags):
    from PIL import Image as Pillow

    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    image = Image("photo", array, flags=flags)
    for write, name in ((write_png, "x.png"), (write_tiff, "x.tif")):
        path = write(image, tmp_path / name)
        assert (b"synthetic" in path.read_bytes()) == bool(flags)
        with Pillow.open(path) as opened:
            assert np.array_equal(np.asarray(opened).transpose(2, 0, 1), array)
            if name == "x.png":
                assert opened.text.get("Comment") == ("synthetic" if flags else None)
