"""2-D images and their masks by the lists that SAM-Med2D publishes.

`image2label_train.json` is {image: [masks]}, `label2image_test.json` {mask: image}. Masks are images of their own, one
for each structure, 0 and 1 or 0 and 255; their names are the image's, the structure and a number: `ct_17.png`,
`ct_17_liver_000.png`.

Source: SAM-Med2D `DataLoader.py`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.errors import VolumeError
from sammed3d.files import path_letters
from sammed3d.files.whole_pictures import check_whole, has_transparent_grey

TRAIN, TEST = "image2label_train.json", "label2image_test.json"
JPEG = (".jpg", ".jpeg")
TIFF = (".tif", ".tiff")
SUFFIXES = (".png", *JPEG, ".bmp", *TIFF)
ORIENTATION, TURNED = 0x0112, range(2, 9)
"""The tag by which cameras say how a picture is to be turned when it is shown, and what says that it is."""
BEYOND_ITK = ("1", "L", "LA", "RGB")
"""Pillow's words for what is read of files that ITK does not read."""
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ListedImage:
    """An image and the masks of its structures.

    Attributes:
        image: file.
        masks: files, at least one.
    """

    image: Path
    masks: tuple[Path, ...]

    def structure_of(self, mask: Path) -> str:
        """Return which structure a mask shows, by its name: the rest without the image's name and the last number."""
        rest = mask.stem.removeprefix(self.image.stem)
        return re.sub(r"[_-]\d+$", "", rest).strip("_-") or rest.strip("_-") or "mask"


def list_in(data: Path, name: str) -> Path | None:
    """Return the list that data are: the file itself, or that of this name in a folder; None for other data."""
    if data.suffix.lower() == ".json" and data.is_file():
        return data
    return data / name if (data / name).is_file() else None


def read_list(file: Path) -> list[ListedImage]:
    """Read a list of either kind, in its order.

    Paths are taken from the folder that holds the list's folder, as in the published data, else from the list's
    folder, else from the present one.

    Raises:
        VolumeError: it is no such list, is empty, or names files that are not there.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8-sig"))  # Windows' own tools put a mark in front
    except (OSError, ValueError) as error:
        raise VolumeError(f"{file}: cannot be read as JSON.") from error
    masks_of: dict[str, list[str]] = {}
    for key, value in entries.items() if isinstance(entries, dict) else ():
        if isinstance(value, str):
            masks_of.setdefault(value, []).append(key)
        elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            masks_of.setdefault(key, []).extend(value)
        else:
            raise VolumeError(f'{file}: {key!r} names no masks. A list is {{"image": ["mask", ...]}}.')
    if not masks_of:
        raise VolumeError(f'{file}: lists no images. A list is {{"image": ["mask", ...]}} or {{"mask": "image"}}.')
    return [
        ListedImage(_found(image, file), tuple(_found(mask, file) for mask in masks))
        for image, masks in masks_of.items()
    ]


def write_lists(folder: Path, train: Sequence[ListedImage], test: Sequence[ListedImage]) -> None:
    """Write both lists of images in a folder, with paths that begin with the folder's name, as published."""

    def named(file: Path) -> str:
        # what links in the folder lead to may lie anywhere
        return (folder.resolve().name / file.absolute().relative_to(folder.absolute())).as_posix()

    images = {named(each.image): [named(mask) for mask in each.masks] for each in train}
    masks = {named(mask): named(each.image) for each in test for mask in each.masks}
    for name, entries in ((TRAIN, images), (TEST, masks)):
        partial = folder / f".{name}"
        partial.write_text(json.dumps(entries, indent=1), encoding="utf-8")
        partial.replace(folder / name)


def names_of(listed: Sequence[ListedImage]) -> dict[Path, str]:
    """Return what masks are called in results: by their files' names, and by their paths where several share one."""
    files = [mask for each in listed for mask in each.masks]
    often = Counter(file.name for file in files)
    return {file: file.name if often[file.name] == 1 else file.as_posix() for file in files}


def pairs_in(folder: Path) -> tuple[list[ListedImage], list[Path]]:
    """Return the images of `images` with their masks of `masks`, and the masks that belong to none.

    A mask belongs to the image with the longest name that its own begins with.

    Raises:
        VolumeError: no image has a mask.
    """
    images = {path.stem: path for path in _images(folder / "images")}
    masks_of: dict[str, list[Path]] = {}
    without = []
    for mask in _images(folder / "masks"):
        names = [name for name in _beginnings(mask.stem) if name in images]
        if names:
            masks_of.setdefault(names[0], []).append(mask)
        else:
            without.append(mask)
    if not masks_of:
        raise VolumeError(
            f"{folder}: no image of {folder / 'images'} has a mask in {folder / 'masks'}. The name of a mask begins "
            "with its image's: NAME.png, NAME_liver_000.png."
        )
    return [ListedImage(images[name], tuple(masks)) for name, masks in sorted(masks_of.items())], without


def read_pixels(file: Path) -> Bytes:
    """Read an image as OpenCV does for the published code: (H, W, 3), blue first, 0..255.

    16 bits are taken for their upper 8, and transparency is left away.

    Raises:
        VolumeError: it cannot be read, or is no such image.
    """
    pixels = _read(file)
    if pixels.dtype == np.uint16:
        pixels = (pixels // 256).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise VolumeError(f"{file}: holds {pixels.dtype} values; images of 8 or 16 bits are needed.")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    colour = pixels[..., :3][..., ::-1] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(colour)


def read_mask(file: Path) -> npt.NDArray[np.bool_]:
    """Read a mask (H, W).

    Raises:
        VolumeError: it cannot be read, or holds other values than 0 and 1, or 0 and 255.
    """
    pixels = _read(file)
    if pixels.ndim == 3:
        if not (pixels[..., :1] == pixels[..., :3]).all():
            raise VolumeError(f"{file}: is coloured; a mask holds one structure, as 0 and 1 or 0 and 255.")
        pixels = pixels[..., 0]
    values = set(np.unique(pixels).tolist())
    if not (values <= {0, 1} or values <= {0, 255}):
        raise VolumeError(
            f"{file}: holds the values {sorted(values)[:6]}; a mask holds one structure, as 0 and 1 or 0 and 255. Save "
            "each structure as a file of its own."
        )
    found: npt.NDArray[np.bool_] = pixels != 0
    return found


def check_sizes(listed: ListedImage, image: Bytes, masks: Mapping[Path, npt.NDArray[np.bool_]]) -> None:
    """Refuse masks of another size than their image.

    Raises:
        VolumeError: one is; names it.
    """
    for file, mask in masks.items():
        if mask.shape != image.shape[:2]:
            raise VolumeError(f"{file}: has {mask.shape[1]} x {mask.shape[0]} pixels, {listed.image.name} has "
                              f"{image.shape[1]} x {image.shape[0]}.")  # fmt: skip


def check_upright(file: Path) -> None:
    """Refuse a photograph that programs turn when they show it: pixels on the screen would not be those of the file.

    Where Pillow is not installed (it is of the extra [cli]), nothing tells that.

    Raises:
        VolumeError: it is one, or damaged.
    """
    image = _with_pillow(file)
    if image is None:
        return
    try:
        with image:
            turned = image.getexif().get(ORIENTATION) in TURNED
    except (OSError, ValueError, SyntaxError) as error:
        raise VolumeError(f"{file}: the file is damaged. Copy or export it again.") from error
    if turned:
        raise VolumeError(
            f"{file.name}: its camera notes that it is to be turned when shown, so that pixels cannot be counted on "
            "the screen. Save it upright first."
        )


def size_beyond_itk(file: Path) -> tuple[int, int] | None:
    """Return columns and rows of an image that ITK does not read and Pillow does; None for all other files.

    Those are PNG files of grey values with transparency, BMP files of two values, and files named as another kind.
    None also where Pillow is not installed.
    """
    image = None if file.suffix.lower() in TIFF else _with_pillow(file)  # of several in a TIFF, Pillow opens the first
    if image is None:
        return None
    with image:
        size: tuple[int, int] | None = image.size if image.mode in BEYOND_ITK else None
        return size


def _read(file: Path) -> npt.NDArray[np.generic]:
    path_letters.check(file)
    if file.suffix.lower() != ".png":  # of PNG it takes to read them whole; who shows one asks
        check_upright(file)
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        if size_beyond_itk(file) is not None:
            return _beyond_itk(file)
        words = f"{file}: cannot be read as an image ({', '.join(SUFFIXES)})."
        raise VolumeError(words + path_letters.hint(file)) from error
    if image.GetDimension() != 2:
        raise VolumeError(f"{file}: is no 2-D image.")
    if has_transparent_grey(file):
        return _opaque(file)
    check_whole(file)
    pixels: npt.NDArray[np.generic] = sitk.GetArrayFromImage(image)
    if pixels.ndim == 3 and file.suffix.lower() in JPEG:
        # Most such files store colours at half the resolution. Pillow interpolates them, to the bit as OpenCV does; ITK
        # repeats them, which differs by up to 70 of 255 where colours meet.
        smooth = _by_pillow(file, "RGB")
        return smooth if smooth.size else pixels
    return pixels


def _opaque(file: Path) -> npt.NDArray[np.uint8]:
    """Read the grey values (H, W) of a TIFF file with transparency, which ITK takes for pixels between the others.

    Raises:
        VolumeError: Pillow, which reads those of 8 bits, is not installed or does not read it.
    """
    pixels = _by_pillow(file, "LA")
    if not pixels.size:
        raise VolumeError(
            f"{file}: is grey with transparency (an alpha channel) of a kind that cannot be read. Save it again "
            "without transparency, as grey or as RGB."
        )
    return pixels[..., 0]


def _beyond_itk(file: Path) -> npt.NDArray[np.uint8]:
    """Read an image that has a `size_beyond_itk`, (H, W) or (H, W, 3); transparency is left away.

    Raises:
        VolumeError: it is damaged.
    """
    read = {mode: pixels for mode in BEYOND_ITK if (pixels := _by_pillow(file, mode)).size}
    [(mode, pixels)] = read.items()
    if mode == "1":
        return np.uint8(255) * pixels
    return pixels[..., 0] if mode == "LA" else pixels


def _by_pillow(file: Path, mode: str) -> npt.NDArray[np.uint8]:
    """Read a file with Pillow, (H, W, channels); nothing where that is not installed, or the file of another mode.

    Raises:
        VolumeError: it is damaged.
    """
    image = _with_pillow(file)
    if image is None:
        return np.zeros(0, np.uint8)
    try:
        with image:
            return np.asarray(image) if image.mode == mode else np.zeros(0, np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise VolumeError(f"{file}: the file is damaged. Copy or export it again.") from error


def _with_pillow(file: Path) -> Any:
    """Open a file with Pillow; None where that is not installed (it is of the extra [cli]) or does not know it."""
    try:
        from PIL import Image  # noqa: PLC0415 - only where it is used
    except ImportError:
        return None
    try:
        return Image.open(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _found(path: str, file: Path) -> Path:
    folder = file.resolve().parent
    for place in (folder.parent / path, folder / path, Path(path)):
        if place.is_file():
            return place
    raise VolumeError(f"{file}: names {path}, which is neither in {folder.parent} nor in {folder}.")


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _beginnings(stem: str) -> Iterator[str]:
    """Yield a name and its beginnings up to an underscore or hyphen, the longest first."""
    yield stem
    yield from (stem[: match.start()] for match in reversed(list(re.finditer(r"[_-]", stem))))
