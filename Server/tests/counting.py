"""A network whose passes are counted, and a patch with clicks to ask it about."""

from helpers import small_volume
from networks import TINY_PRESET
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.predictor import PatchClick

CLICKS = [
    PatchClick((30.0, 31.0, 32.0), True),
    PatchClick((10.0, 40.0, 20.0), False),
    PatchClick((50.0, 9.0, 33.0), True),
]


class Counting:
    """Counts the passes of a network; can call back between them."""

    def __init__(self, network):
        self.network = network
        self.sees_all_clicks = network.sees_all_clicks
        self.starts_without_mask = network.starts_without_mask
        self.scores_are_trained = network.scores_are_trained
        self.first_passes, self.tempering = network.first_passes, network.tempering
        self.encodes = self.decodes = self.layers = 0
        self.on_layer = lambda: None

    def eval(self):
        return self

    def requires_grad_(self, _):
        return self

    def to(self, _):
        return self

    def encode(self, patch, between_layers=None):
        self.encodes += 1

        def between():
            self.layers += 1
            self.on_layer()
            between_layers()

        return self.network.encode(patch, between)

    def decode(self, *arguments, **boxes):
        self.decodes += 1
        return self.network.decode(*arguments, **boxes)


def patch_at(world=(60.0, 75.0, 45.0)):
    volume = small_volume((70, 80, 60))
    lattice = Lattice(volume.grid, TINY_PRESET.spacing)
    return cut_patch(volume, lattice, lattice.window_at(world, TINY_PRESET.patch_shape), TINY_PRESET)
