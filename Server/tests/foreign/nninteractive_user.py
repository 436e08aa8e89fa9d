"""A user of the nnInteractive client, as it comes from its publisher: clicks and writes down what it sees."""

import json
import sys
from pathlib import Path

import numpy as np
from nnInteractive.inference.remote import (
    ServerAtCapacityError,
    SessionExpiredError,
    nnInteractiveRemoteInferenceSession,
)

url, folder, key = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
image = np.load(folder / "image.npy")  # (Z, Y, X), as 3D Slicer and napari hold it
clicks = json.loads((folder / "clicks.json").read_text())
spacing = json.loads((folder / "spacing.json").read_text())
seen = {}


def connect():
    return nnInteractiveRemoteInferenceSession(url, api_key=key or None)


session = connect()
seen["capabilities"] = {k: bool(v) for k, v in session.supported_interactions.items()}
session.set_do_autozoom(True)
session.set_image(image[None], {"spacing": spacing})
buffer = np.zeros(image.shape, np.uint8)
session.set_target_buffer(buffer)
session.reset_interactions()
masks = []
for *voxel, positive in clicks:
    session.add_point_interaction(tuple(voxel), include_interaction=positive)
    masks.append(buffer.copy())
np.save(folder / "after_clicks.npy", np.stack(masks))
for _ in clicks:
    session.undo()
    masks.append(buffer.copy())
np.save(folder / "after_undo.npy", np.stack(masks[len(clicks) :]))

# an initial mask, refined by a click
start = np.load(folder / "start.npy")
session.reset_interactions()
session.add_initial_seg_interaction(start, run_prediction=False)
session.add_point_interaction(tuple(clicks[0][:3]), include_interaction=clicks[0][3])
np.save(folder / "refined.npy", buffer)

# what goes wrong
try:
    session.add_point_interaction((10_000, 0, 0), include_interaction=True)
except Exception as error:
    seen["outside"] = f"{type(error).__name__} {getattr(getattr(error, 'response', None), 'status_code', '')}"
others = []
try:
    for _ in range(10):
        others.append(connect())
except ServerAtCapacityError:
    seen["full"] = "ServerAtCapacityError"
for other in others:
    other.close()
session._http.headers["X-Lease-Token"] = "forged"  # noqa: SLF001 - the client has no other way to it
try:
    session.add_point_interaction(tuple(clicks[0][:3]), include_interaction=True)
except SessionExpiredError:
    seen["forged"] = "SessionExpiredError"
(folder / "seen.json").write_text(json.dumps(seen))
