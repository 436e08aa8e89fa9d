"""What the slice views and the surfaces show is the volume, voxel for voxel, however its axes lie."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

if importlib.util.find_spec("trame_slicer") is None:
    pytest.skip("trame_slicer is not installed: run make test-web", allow_module_level=True)

from helpers import write_image
from sammed3d.core.mask import BoxedMask
from sammed3d.files.volume import Volume
from sammed3d.web import slicer_scene

WIDTH, HEIGHT = 300, 260
TURNED = np.array([[0.8, -0.6, 0], [0.48, 0.64, -0.6], [0.36, 0.48, 0.8]])
"""A rotation: its columns are of length 1 and at right angles."""
ACQUIRED = {
    "along R, A, S": ((30, 26, 20), (1, 1, 1), np.eye(3)),
    "along L, P, S": ((30, 26, 20), (1, 1, 1.5), np.diag([-1, -1, 1])),
    "mirrored": ((30, 26, 20), (1, 1, 2), -np.eye(3)),
    "sagittal": ((30, 26, 10), (1, 1, 4), np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])),
    "thick slices": ((30, 26, 6), (0.8, 0.8, 5), np.eye(3)),
    "one slice": ((30, 26, 1), (1, 1, 3), np.eye(3)),
    "oblique": ((30, 26, 20), (1, 1.3, 2), TURNED),
    "oblique and mirrored": ((30, 26, 20), (1, 1.3, 2), TURNED @ np.diag([-1, 1, -1])),
}
SIDES = {"Axial": ["R", "L", "P", "A"], "Coronal": ["R", "L", "I", "S"], "Sagittal": ["A", "P", "I", "S"]}


@pytest.fixture(scope="module")
def page():
    app = slicer_scene.start()
    from trame.app import get_server
    from trame_slicer import module

    from sammed3d.web.page import Page
    from sammed3d.web.places import Offer, Places
    from sammed3d.web.work import Work

    server = get_server("views of volumes", client_type="vue3")
    server.enable_module(module)
    places = Places(lambda: [Offer("default", "Default")])
    page = Page(server, app, Work(places.predictors.load, places.choice_of), places, "default", lambda: None)
    yield SimpleNamespace(page=page, work=page.work, views=app.view_manager.get_slice_views)
    page.work.close()


@pytest.fixture(params=ACQUIRED)
def volume(request, tmp_path):
    """Smooth, so that a place is told by its value, with values from 0 to 1000."""
    shape, spacing, axes = ACQUIRED[request.param]
    i, j, k = np.meshgrid(*map(np.arange, shape), indexing="ij")
    voxels = 500 + 250 * np.sin(i / 5) + 150 * np.cos(j / 4 + i / 9) + 100 * np.sin(k / 3 + j / 7)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * np.array(spacing), (10, -20, 30)
    write_image(tmp_path / "made.nrrd", voxels.astype(np.int16), matrix)
    return Volume.read(tmp_path / "made.nrrd")


def pixels(view):
    """What a view draws, rows from below."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    window = view.render_window()
    window.SetSize(WIDTH, HEIGHT)
    view.fit_view_to_content()
    window.Render()
    drawn = vtk.vtkWindowToImageFilter()
    drawn.SetInput(window)
    drawn.ReadFrontBufferOff()
    drawn.Update()
    return vtk_to_numpy(drawn.GetOutput().GetPointData().GetScalars()).reshape(HEIGHT, WIDTH, 3)[..., 0].astype(float)


def sides(view):
    import vtk

    return [actor.GetInput() for actor in view.first_renderer().GetViewProps() if isinstance(actor, vtk.vtkTextActor)]


def between_voxels(array, index):
    """Values of an array at places between its voxels (N, 3), which lie inside."""
    below = np.clip(np.floor(index).astype(int), 0, np.maximum(np.array(array.shape) - 2, 0))
    share, total = index - below, 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        total = total + weight * array[tuple(np.minimum(below + corner, np.array(array.shape) - 1).T)]
    return total


def test_a_pixel_has_the_value_of_its_place_and_sides_are_where_the_letters_say(page, volume):
    page.page.open(volume)
    display = page.work.volume_node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(1000, 500)
    to_index = np.linalg.inv(volume.grid.index_to_world)
    last = np.array(volume.grid.shape) - 1
    beyond = np.where(last == 0, 0.4, 0)  # a single slice is as thick as it is
    for view in page.views():
        node, drawn = view.get_view_node(), pixels(view)
        matrix = node.GetXYToRAS()
        to_world = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
        columns, rows = np.meshgrid(np.arange(40, WIDTH - 40), np.arange(50, HEIGHT - 50))  # without the letters
        places = np.stack([columns, rows, 0 * rows, 1 + 0 * rows], axis=-1).reshape(-1, 4)
        index = (places @ to_world.T @ to_index.T)[:, :3]
        inside = ((index >= -beyond) & (index <= last + beyond)).all(axis=1)
        assert np.count_nonzero(inside) > 1000
        expected = between_voxels(volume.array, np.clip(index[inside], 0, last)) * 255 / 1000
        assert np.abs(drawn[places[inside, 1], places[inside, 0]] - expected).max() < 2
        assert sides(view) == SIDES.get(node.GetOrientation(), sides(view))
        right, top = (to_world[:3, axis] @ np.diag([-1, 1, 1]) for axis in (0, 1))  # L, A, S
        for letters, way in zip(sides(view), (-right, right, -top, top), strict=True):
            most = int(np.abs(way).argmax())
            assert letters[0] == ("RL", "PA", "IS")[most][int(way[most] > 0)]


def test_a_surface_lies_round_its_segments_voxels(page, volume):
    from vtk.util.numpy_support import vtk_to_numpy

    from SAMMed3DSegmentLib import SegmentWriter, Surface
    from SAMMed3DSegmentLib.SegmentWriter import Holdings

    page.page.open(volume)
    work, mask = page.work, np.zeros(volume.grid.shape, bool)
    size = np.array(mask.shape)
    low, high = size // 4, np.clip(size // 2 + (0, 1, 2), 1, size)
    mask[tuple(map(slice, low, high))] = True
    before = Holdings.of(work.segmentation_node, work.segment_id)
    SegmentWriter.write(work.segmentation_node, work.segment_id, work.volume_node, BoxedMask.of(mask), before)
    Surface.refresh(work.segmentation_node)
    surface = work.segmentation_node.GetSegmentation().GetSegment(work.segment_id).GetRepresentation("Closed surface")
    points = vtk_to_numpy(surface.GetPoints().GetData())
    index = (np.c_[points, np.ones(len(points))] @ np.linalg.inv(volume.grid.index_to_world).T)[:, :3]
    assert np.abs(index.min(axis=0) - (low - 0.5)).max() < 0.7, "between the voxels' middles and their sides"
    assert np.abs(index.max(axis=0) - (high - 0.5)).max() < 0.7


def test_memory_that_predictions_freed_is_looked_after(page, monkeypatch):
    looked = []
    monkeypatch.setattr(page.work, "_rest", SimpleNamespace(look=looked.append))
    page.work.poll()
    assert looked == [False]
