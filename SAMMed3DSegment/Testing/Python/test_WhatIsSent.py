"""All that leaves the computer in a session with a server: patches, prompts in voxels, digests; nothing that names."""

import getpass
import json
import platform
import re

import pytest
import slicer
from requests.adapters import HTTPAdapter

from panels import clickWorld, settle, wait
from panelUser import PanelUser
from sammed3d.wire import arrays, messages
from SAMMed3DSegmentLib.Predictors import Predictors
from segmenters import newPredictor
from servers import serving

LOAD = Predictors.load
NAMES = ("Doe^Jane", "PID-4711", "1.2.840.99.4711", "/data/ward7", "left kidney of", "follow-up May")
"""What the scene holds of a patient, in names of nodes, attributes and paths."""
HEADERS = {"user-agent", "accept-encoding", "accept", "connection", "content-length", "content-type", "authorization"}
OUR_HEADERS = {messages.PROTOCOL_HEADER.lower(), messages.ROUTING_HEADER.lower()}
DIGEST, WORD = r"[0-9a-f]{64}", r"[A-Za-z0-9_]{1,64}"
PATHS = {
    "GET": rf"{messages.LIVE}|{messages.READY}|{messages.INFO}",
    "HEAD": messages.PATCH.format(digest=DIGEST),
    "PUT": messages.PATCH.format(digest=DIGEST),
    "POST": f"{messages.PREDICTIONS.format(digest=DIGEST)}|{messages.LOGITS.format(digest=DIGEST)}",
    "DELETE": messages.PREDICTION.format(request_id=WORD),
}
TEXTS = {"model": "default", "request": WORD, "weights": DIGEST, "session": WORD, "mask": DIGEST}
FLAGS = {"signs", "candidates", "from_wide", "from_mask", "raw"}
NUMBERS = {"turn", "clicks", "earlier", "box", "layers", "outline"}


@pytest.fixture
def sent(monkeypatch):
    """All requests of this process, as they go out."""
    requests, send = [], HTTPAdapter.send

    def record(self, request, *arguments, **options):
        body = bytearray() if hasattr(request.body, "read") else bytearray(request.body or b"")
        if hasattr(request.body, "read"):  # it goes in pieces
            request.body = Overheard(request.body, body)
        requests.append((request.method, request.path_url, dict(request.headers), body))
        return send(self, request, *arguments, **options)

    monkeypatch.setattr(HTTPAdapter, "send", record)
    return requests


class Overheard:
    """A body that is read in pieces, which are kept."""

    def __init__(self, body, kept):
        self._body, self._kept = body, kept

    def __len__(self):
        return len(self._body)

    def read(self, *size):
        piece = self._body.read(*size)
        self._kept += piece
        return piece


class Patient(PanelUser):
    """A user whose scene is full of what names a patient."""

    def name(self):
        for volume in self.volumes():
            volume.SetName("Doe^Jane PID-4711")
            volume.SetAttribute("DICOM.instanceUIDs", "1.2.840.99.4711")
            volume.AddDefaultStorageNode("/data/ward7/PID-4711.nrrd")
        for node in self.segmentations():
            node.SetName("follow-up May")
            for segmentId in node.GetSegmentation().GetSegmentIDs():
                node.GetSegmentation().GetSegment(segmentId).SetName("left kidney of Doe^Jane")
        slicer.mrmlScene.SetURL("/data/ward7/Doe^Jane.mrml")

    def work(self):
        for step in (self.click, self.click, self.undo, self.draw, self.box, self.handEdit, self.click):
            step()
            self.settle()
            self.name()
        self.press("X")
        self.settle()
        self.nextSegment()
        self.ui.volumeSelector.setCurrentNode(self.volumes()[1])
        self.name()
        self.click()


def numbersIn(found):
    """Go through the numbers, flags and texts of JSON."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        for each in found:
            yield from numbersIn(each)
    else:
        yield found


def checkHead(head):
    """What a question says beside bytes: words that this program makes itself, and places in voxels of the patch."""
    for name, value in {**head, **head["prompts"]}.items():
        if name in TEXTS:
            assert re.fullmatch(TEXTS[name], value), name
        elif name in FLAGS:
            assert value is True
        elif name in NUMBERS:
            texts = [each for each in numbersIn(value) if isinstance(each, str)]
            assert all(re.fullmatch(DIGEST, each) for each in texts), name
        else:
            assert name == "prompts", f"{name} is new: say in the panel and in docs/server.md that it is sent"


def checkAll(sent, shape, folder):
    """Look at all requests of a session, whose patches have a shape; returns how many patches there were."""
    kinds = {method for method, *_ in sent}
    assert {"GET", "HEAD", "PUT", "POST"} <= kinds <= set(PATHS)
    here = (*NAMES, getpass.getuser(), platform.node(), str(folder))
    patches = 0
    for method, path, headers, kept in sent:
        assert re.fullmatch(PATHS[method], path)
        assert {name.lower() for name in headers} <= HEADERS | OUR_HEADERS
        words = json.dumps([path, {n: v for n, v in headers.items() if n.lower() != "connection"}])
        body = bytes(kept)
        if method == "PUT" and len(body) == int(headers["Content-Length"]):  # else a click was taken back meanwhile
            patches += 1
            assert arrays.unpack(body, shape).shape == shape, "a patch, and no more of the image"
        elif path.endswith("/predictions"):
            head, _ = messages.split(body)
            checkHead(head)
            words += json.dumps(head)
        assert not [name for name in here if name in words]
        assert not [name for name in here if len(name) > 4 and name.encode() in body]
    return patches


@pytest.fixture
def agree(module, ui, monkeypatch, sent):
    """Choose a server, as the user would, and agree."""
    monkeypatch.setattr(Predictors, "load", LOAD)

    def agree(server):
        ui.placeSelector.setCurrentIndex(1)
        ui.urlEdit.setText(server.url)
        assert not sent, "nothing before the user agrees"
        ui.consentCheckBox.click()
        wait(lambda: not module.panel.models.served.busy)

    return agree


@pytest.mark.slow
def test_a_session_sends_patches_and_prompts_and_nothing_that_names(
    module, ui, predictor, answers, tmp_path, sent, agree
):
    served = newPredictor()
    user = Patient(3, tmp_path, served, answers)
    user.name()
    with serving(served) as server:
        agree(server)
        user.work()
        ui.testButton.click()
        user.settle()
    assert checkAll(sent, served.preset.patch_shape, tmp_path) > 1


def nameAll(region):
    """Let all that Find, Follow and Through the series work on name a patient: volumes, series, frames, region."""
    for kind in ("ScalarVolume", "Sequence", "SequenceBrowser", "Segmentation"):
        for node in slicer.util.getNodesByClass(f"vtkMRML{kind}Node"):
            node.SetName("Doe^Jane PID-4711 follow-up May")
            node.SetAttribute("DICOM.instanceUIDs", "1.2.840.99.4711")
    for sequence in slicer.util.getNodesByClass("vtkMRMLSequenceNode"):
        for number in range(sequence.GetNumberOfDataNodes()):
            sequence.GetNthDataNode(number).SetName("Doe^Jane PID-4711")
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        for segmentId in node.GetSegmentation().GetSegmentIDs():
            node.GetSegmentation().GetSegment(segmentId).SetName("left kidney of Doe^Jane")
    region.SetName("left kidney of Doe^Jane")
    slicer.mrmlScene.SetURL("/data/ward7/Doe^Jane.mrml")


@pytest.mark.slow
def test_find_follow_and_through_the_series_send_no_more_than_the_user_was_told(
    module, ui, scene, browser, ball, tmp_path, sent, agree
):
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "here")
    region.SetCenter(*ball.centres[0])
    region.SetSize(14, 14, 14)
    served = newPredictor()

    def work(button):
        """Press a button; tells how many patches were sent for that."""
        nameAll(region)
        before = sum(method == "PUT" for method, *_ in sent)
        button.click()
        settle(module)
        return sum(method == "PUT" for method, *_ in sent) - before

    with serving(served) as server:
        agree(server)
        clickWorld(module, ball.centres[0])
        assert work(ui.followButton), ui.statusLabel.text
        told = ui.consentLabel.text
        assert "where objects are followed" in told
        assert work(ui.propagateButton) >= browser.GetNumberOfItems() - 1, ui.propagateLabel.text
        assert "through a series, such cubes of each frame" in told, "each frame sends some, clicked or not"
        ui.findSection.collapsed = False
        ui.regionSelector.setCurrentIndex(1)
        ui.roiSelector.setCurrentNode(region)
        browser.SetSelectedItemNumber(4)
        settle(module)
        assert work(ui.findButton), ui.findLabel.text
        assert "to find objects all of the region" in told
    assert checkAll(sent, served.preset.patch_shape, tmp_path) > browser.GetNumberOfItems()
