"""A user of the nnInteractive client who draws a scribble, a lasso and a box, and takes all of them back."""

import json
import sys
from pathlib import Path

import numpy as np
from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession

url, folder = sys.argv[1], Path(sys.argv[2])
image = np.load(folder / "image.npy")
session = nnInteractiveRemoteInferenceSession(url)
session.set_image(image[None], {"spacing": [3.2, 3.1, 3.0]})
buffer = np.zeros(image.shape, np.uint8)
session.set_target_buffer(buffer)
session.reset_interactions()
masks = []

scribble = np.zeros(image.shape, np.uint8)
scribble[15, 20:30, 20] = 1
session.add_scribble_interaction(scribble, include_interaction=True)
masks.append(buffer.copy())

box = [[10, 11], [5, 15], [8, 20]]  # a lasso on one slice, cropped to its box, as the clients may send it
session.add_lasso_interaction(np.ones((1, 10, 12), np.uint8), include_interaction=False, interaction_bbox=box)
masks.append(buffer.copy())

session.add_bbox_interaction([[5, 25], [10, 40], [5, 30]], include_interaction=True)
masks.append(buffer.copy())
for _ in range(3):
    session.undo()
    masks.append(buffer.copy())
np.save(folder / "masks.npy", np.stack(masks))

refused = {}
for name, draw in {
    "empty": lambda: session.add_scribble_interaction(0 * scribble, include_interaction=True),
    "shape": lambda: session.add_scribble_interaction(scribble[1:], include_interaction=True),
    "outside": lambda: session.add_lasso_interaction(
        scribble[:1], include_interaction=True, interaction_bbox=[[99, 100], *box[1:]]
    ),
    "flat": lambda: session.add_bbox_interaction([[5, 6], [10, 40], [5, 30]], include_interaction=True),
}.items():
    try:
        draw()
    except Exception as error:
        response = getattr(error, "response", None)
        refused[name] = [response.status_code, response.json()["detail"]]
seen = {k: bool(v) for k, v in session.supported_interactions.items()}
(folder / "seen.json").write_text(json.dumps({"tools": seen, "refused": refused}))
