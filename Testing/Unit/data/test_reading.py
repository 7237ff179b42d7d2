"""Reading images of every kind that comes up, and refusing the others in one line."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_volume
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_volume


def grey(dtype=np.int16, shape=(4, 5, 6)) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def refused(path, match, **choices) -> str:
    with pytest.raises(InputError, match=match) as error:
        read_volume(path, **choices)
    text = str(error.value)
    assert "\n" not in text and len(text) < 400 + 3 * len(str(path))
    return text


rotations = st.tuples(*[st.floats(-180, 180)] * 3).map(
    lambda angles: Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rotations,
    st.sampled_from((np.eye(3), np.diag([1, 1, -1]), np.eye(3)[[2, 0, 1]])),
    st.tuples(*[st.floats(0.3, 8.0)] * 3),
    st.tuples(*[st.floats(-300, 300)] * 3),
    st.sampled_from((".nii.gz", ".nii", ".nrrd", ".mha")),
)
def test_any_direction_and_spacing_survives_every_format(
    tmp_path, rotation, base, spacing, origin, kind
):
    volume = Volume(grey(), spacing, origin, rotation @ base)
    path = tmp_path / f"volume{kind}"
    write_volume(volume, path)
    back = read_volume(path)
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.corners(), volume.corners(), atol=0.02)
    canonical, orientation = back.canonical()
    marked = np.argwhere(canonical.voxels == 77)[0][::-1]
    expected = np.argwhere(volume.voxels == 77)[0][::-1]
    np.testing.assert_allclose(
        canonical.index_to_world(marked), volume.index_to_world(expected), atol=0.02
    )
    np.testing.assert_array_equal(orientation.restore(canonical.voxels), volume.voxels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("kind", [".nii.gz", ".nrrd", ".mha"])
def test_stored_types_are_kept(tmp_path, dtype, kind):
    write_volume(Volume(grey(dtype)), tmp_path / f"a{kind}")
    back = read_volume(tmp_path / f"a{kind}")
    assert back.voxels.dtype == dtype
    np.testing.assert_array_equal(back.voxels, grey(dtype))


@pytest.mark.parametrize(
    "name", ["with space.nrrd", "Bäuche 腹部.nii.gz", "ct.NII.GZ", "a.b.c.mha"]
)
def test_paths_with_spaces_other_letters_and_capitals(tmp_path, name):
    folder = tmp_path / "Dossier été" / "ß 1"
    write_volume(Volume(grey()), folder / name)
    back = read_volume(str(folder / name))
    assert back.name == name
    np.testing.assert_array_equal(back.voxels, grey())


def test_mhd_and_nhdr_with_their_data_beside_them(tmp_path):
    for name in ("a.mhd", "a.nhdr"):
        sitk.WriteImage(sitk.GetImageFromArray(grey()), str(tmp_path / name))
        np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, grey())
    (tmp_path / "a.raw").unlink()
    refused(tmp_path / "a.mhd", "its data file a.raw is not there")


def test_one_slice_volumes_are_handled(tmp_path):
    volume = Volume(grey(shape=(1, 5, 6)), (0.5, 0.5, 4.0))
    write_volume(volume, tmp_path / "slice.nii.gz")
    assert read_volume(tmp_path / "slice.nii.gz").shape == (1, 5, 6)
    sitk.WriteImage(sitk.GetImageFromArray(grey(shape=(5, 6))), str(tmp_path / "flat.mha"))
    assert read_volume(tmp_path / "flat.mha").shape == (1, 5, 6)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".tif"])
def test_pictures_become_one_slice_of_unit_pixels(tmp_path, kind):
    image = sitk.GetImageFromArray(grey(np.uint8, (12, 10)))
    image.SetSpacing((0.1, 0.1))
    sitk.WriteImage(image, str(tmp_path / f"p{kind}"))
    volume = read_volume(tmp_path / f"p{kind}")
    assert volume.shape == (1, 12, 10)
    assert volume.spacing == (1, 1, 1)
    assert volume.modality == "other"
    np.testing.assert_allclose(volume.voxels[0], grey(np.uint8, (12, 10)), atol=3)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", [".png", ".nrrd", ".nii.gz"])
def test_rgb_is_kept_and_alpha_dropped(tmp_path, channels, kind):
    flat = kind == ".png"
    pixels = grey(np.uint8, (9, 8, channels) if flat else (3, 9, 8, channels))
    image = sitk.GetImageFromArray(pixels, isVector=True)
    sitk.WriteImage(image, str(tmp_path / f"c{kind}"))
    volume = read_volume(tmp_path / f"c{kind}")
    assert volume.modality == "RGB"
    expected = pixels[None, ..., :3] if flat else pixels[..., :3]
    np.testing.assert_array_equal(volume.voxels, expected)


def test_grey_with_alpha_is_grey(tmp_path):
    from PIL import Image

    pixels = np.stack((grey(np.uint8, (9, 8)), np.full((9, 8), 255, np.uint8)), axis=-1)
    Image.fromarray(pixels, "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "la.png").voxels[0], pixels[..., 0])


def write_4d(path, frames: int) -> np.ndarray:
    voxels = np.random.default_rng(0).integers(0, 999, (frames, 3, 4, 5)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=False), str(path))
    return voxels


@pytest.mark.parametrize("kind", [".nii.gz", ".nrrd", ".mha"])
def test_a_frame_of_a_4d_image_is_chosen_by_component(tmp_path, kind):
    voxels = write_4d(tmp_path / f"t{kind}", 6)
    message = refused(tmp_path / f"t{kind}", "6 frames")
    assert "component= 0 to 5" in message
    volume = read_volume(tmp_path / f"t{kind}", component=4)
    np.testing.assert_array_equal(volume.voxels, voxels[4])
    refused(tmp_path / f"t{kind}", "component= 6 is not there", component=6)


def test_4d_of_one_frame_is_3d(tmp_path):
    voxels = write_4d(tmp_path / "t.nii.gz", 1)
    np.testing.assert_array_equal(read_volume(tmp_path / "t.nii.gz").voxels, voxels[0])


def test_component_of_a_3d_image(tmp_path):
    write_volume(Volume(grey()), tmp_path / "a.nrrd")
    assert read_volume(tmp_path / "a.nrrd", component=0).shape == (4, 5, 6)
    refused(tmp_path / "a.nrrd", "has one frame", component=1)


def test_vector_images_ask_for_a_component(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3, 4, 5, 3)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(vectors, isVector=True), str(tmp_path / "v.nrrd"))
    refused(tmp_path / "v.nrrd", "holds 3 components; choose one")
    volume = read_volume(tmp_path / "v.nrrd", component=1)
    np.testing.assert_array_equal(volume.voxels, vectors[..., 1])


def test_complex_images_are_refused(tmp_path):
    image = sitk.GetImageFromArray(grey(np.complex64))
    sitk.WriteImage(image, str(tmp_path / "c.nii.gz"))
    refused(tmp_path / "c.nii.gz", "complex numbers")


def test_voxels_that_are_no_numbers_are_noted(tmp_path):
    voxels = grey(np.float32)
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    write_volume(Volume(voxels), tmp_path / "n.nrrd")
    volume = read_volume(tmp_path / "n.nrrd")
    assert volume.notes == ("3 voxels are not numbers or infinite; they count as background",)
    write_volume(Volume(np.full((2, 2, 2), np.nan)), tmp_path / "all.nrrd")
    refused(tmp_path / "all.nrrd", "none of its voxels is a number")


def test_constant_images_are_refused(tmp_path):
    write_volume(Volume(np.full((2, 3, 4), 7, np.int16)), tmp_path / "c.nrrd")
    assert "all voxels have the value 7" in refused(tmp_path / "c.nrrd", "c.nrrd")


def test_files_that_are_not_there_or_not_readable(tmp_path):
    refused(tmp_path / "none.nii.gz", "none.nii.gz: no such file")
    (tmp_path / "empty.nrrd").touch()
    refused(tmp_path / "empty.nrrd", "the file is empty")
    for name in ("text.nii.gz", "text.nrrd", "text.mha", "text.png", "text.dcm"):
        (tmp_path / name).write_text("no image at all, only text\n" * 30, encoding="utf-8")
        refused(tmp_path / name, f"{name}: cannot be read")
    (tmp_path / "notes.txt").write_text("text", encoding="utf-8")
    assert ".nii.gz" in refused(tmp_path / "notes.txt", "unknown kind of file")
    refused(tmp_path, "holds no DICOM images")


@pytest.mark.parametrize("kind", [".nii.gz", ".nii", ".nrrd", ".mha", ".png"])
def test_a_file_cut_short_is_refused(tmp_path, kind):
    path = tmp_path / f"cut{kind}"
    shape = (1, 100, 100) if kind == ".png" else (20, 30, 30)
    values = np.random.default_rng(0).integers(0, 60000, shape).astype(np.uint16)
    write_volume(Volume(values), path)
    assert read_volume(path).shape == shape
    path.write_bytes(path.read_bytes()[:4000])
    refused(path, "cannot be read|cut short")


def test_scaled_and_rgb_nifti_files_are_not_taken_for_cut_ones(tmp_path):
    write_volume(Volume(grey()), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<2f", content, 112, 0.5, 3.0)  # scl_slope, scl_inter
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(content)))
    np.testing.assert_allclose(read_volume(tmp_path / "b.nii.gz").voxels, grey() * 0.5 + 3)


def test_a_gzip_file_of_several_members_is_read(tmp_path):
    write_volume(Volume(grey()), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content[:300]) + gzip.compress(content[300:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").voxels, grey())


def test_modality_can_be_given_and_is_checked(tmp_path):
    write_volume(Volume(grey()), tmp_path / "a.nrrd")
    assert read_volume(tmp_path / "a.nrrd").modality == "MR"
    assert read_volume(tmp_path / "a.nrrd", modality="ct").modality == "CT"
    refused(tmp_path / "a.nrrd", "modality 'US' is unknown", modality="US")
    refused(tmp_path / "a.nrrd", "is a grey image", modality="RGB")


def test_modality_tag_in_the_header_is_believed(tmp_path):
    image = sitk.GetImageFromArray(grey())
    image.SetMetaData("0008|0060", "CT")
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd").modality == "CT"


def write_sheared_nifti(path, shear: float) -> None:
    """A NIfTI file whose sform's second axis leans by ``shear`` to the first."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 6, 5, 4, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 2, 2, 2, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2f", header, 112, 1, 0)
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<4f", header, 280, 2, 2 * shear, 0, 10)
    struct.pack_into("<4f", header, 296, 0, 2, 0, 20)
    struct.pack_into("<4f", header, 312, 0, 0, 2, 30)
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + grey().tobytes())


def test_nifti_axes_almost_at_right_angles_are_straightened(tmp_path):
    for name, shear in (("a.nii", 0.0), ("b.nii", 0.01)):
        write_sheared_nifti(tmp_path / name, shear)
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.voxels, grey())
        np.testing.assert_allclose(volume.origin, (-10, -20, 30), atol=1e-4)
        np.testing.assert_allclose(volume.direction, np.diag([-1, -1, 1]), atol=0.02)


def test_nifti_axes_far_from_right_angles_are_refused(tmp_path):
    write_sheared_nifti(tmp_path / "s.nii", 0.3)
    refused(tmp_path / "s.nii", "not at right angles")


def test_robustness_files(shared_data):
    folder = shared_data / "robustness"
    refused(folder / "4d_fmri.nii.gz", "holds 30 frames")
    frame = read_volume(folder / "4d_fmri.nii.gz", component=7)
    assert frame.shape == (6, 68, 68)
    assert frame.spacing == pytest.approx((0.9559, 0.9559, 16.8), abs=1e-3)
    rgb = read_volume(folder / "rgb.nii.gz")
    assert rgb.voxels.shape == (4, 10, 10, 3) and rgb.modality == "RGB"
    big = read_volume(folder / "big_endian.nii")
    assert big.voxels.dtype.isnative and big.voxels.min() == -610 and big.voxels.max() == 30393


def test_importing_and_reading_loads_no_torch(tmp_path):
    write_volume(Volume(grey()), tmp_path / "a.nrrd")
    code = (
        "import sys, FewShotSAMLib as fss\n"
        "assert not {'torch', 'SimpleITK', 'scipy'} & set(sys.modules), 'import'\n"
        f"volume = fss.read_volume({str(tmp_path / 'a.nrrd')!r})\n"
        "labels = volume.with_voxels((volume.voxels > 80).astype('uint8'))\n"
        "fss.Support.from_labels(volume, labels)\n"
        "assert 'torch' not in sys.modules, 'reading'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_package_offers_its_names():
    import FewShotSAMLib

    assert set(FewShotSAMLib.__all__) <= set(dir(FewShotSAMLib))
    for name in ("read_volume", "read_labels", "write_labels", "Volume", "Support", "InputError"):
        assert getattr(FewShotSAMLib, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = FewShotSAMLib.nothing
