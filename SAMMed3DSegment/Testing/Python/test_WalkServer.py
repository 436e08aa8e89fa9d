"""A random use of the panel whose predictions a server makes, with a real network; it is away now and then.

SAMMED3D_SERVER_WALK sets the number of actions, SAMMED3D_SEED the walk (0: any); a failure prints both.
"""

import os
import random
import threading

import pytest

import qt
from networks import TINY_PRESET, TINY_SIZES, filled
from panels import wait
from sammed3d.nets import build
from sammed3d.predictors.torch_predictor import TorchPredictor
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.Predictors import Predictors
from servers import serving
from test_WalkPanel import PanelWalk

ACTIONS = int(os.environ.get("SAMMED3D_SERVER_WALK", "30"))
SEED = int(os.environ.get("SAMMED3D_SEED", "1")) or random.SystemRandom().randrange(1, 10**9)
LOAD = Predictors.load
AWAY = {"restartServer": 4, "serverAway": 4}


class Served(TorchPredictor):
    """A network that can be told to fail, or to wait."""

    fail = None

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, patch, prompts, cancellation=None):
        while not self.gate.wait(0.005):
            if cancellation is not None:
                cancellation.check()
        if self.fail is not None:
            raise self.fail
        return super().predict(patch, prompts, cancellation)


class ServerWalk(PanelWalk):
    """A walk whose server may be away, and has forgotten all when it is back."""

    weights = PanelWalk.weights | AWAY

    def __init__(self, server, network, *arguments):
        self.server, self.network = server, network
        super().__init__(*arguments)

    def newPredictor(self):
        return TorchPredictor(self.network, TINY_PRESET, device="cpu")

    def restartServer(self):
        """It comes back with empty caches."""
        self.server.stop()
        self.server.start()
        self.click()

    def serverAway(self):
        """What is clicked while it is away is done when it is back, by Redo where that took long."""
        self.server.stop()
        points = self.place()
        for _ in range(self.random.randint(0, 20)):
            qt.QApplication.processEvents()
        self.server.start()
        self.settle()
        if "Redo brings it again" in self.ui.statusLabel.text:
            self.ui.redoButton.click()
            self.settle()
        if points is not None:
            assert PointList.kinds(points)[-1:] == [self.ui.positiveButton.checked], self.ui.statusLabel.text


@pytest.mark.slow
@pytest.mark.timeout(max(300, ACTIONS * 12))
def test_a_random_use_of_a_server(module, ui, answers, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictors, "load", LOAD)
    network = filled(build("sam_med3d", TINY_SIZES))
    served = Served(network, TINY_PRESET, device="cpu")
    with serving(served) as server:
        ui.placeSelector.setCurrentIndex(1)
        ui.urlEdit.setText(server.url)
        ui.consentCheckBox.click()
        wait(lambda: not module.panel.models.served.busy)
        walk = ServerWalk(server, network, SEED, tmp_path, served, answers)
        try:
            walk.walk(ACTIONS, f"SAMMED3D_SEED={SEED} SAMMED3D_SERVER_WALK={ACTIONS}")
        finally:
            served.fail = None
            served.gate.set()
