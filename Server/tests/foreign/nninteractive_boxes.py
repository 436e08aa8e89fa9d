"""A user of the nnInteractive client who draws a box, then clicks, then takes both back."""

import json
import sys
from pathlib import Path

import numpy as np
from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession

url, folder = sys.argv[1], Path(sys.argv[2])
image = np.load(folder / "image.npy")
session = nnInteractiveRemoteInferenceSession(url)
session.set_image(image[None], {"spacing": [4.0, 1.0, 1.0]})
buffer = np.zeros(image.shape, np.uint8)
session.set_target_buffer(buffer)
session.reset_interactions()
masks = []
session.add_bbox_interaction([[2, 7], [10, 60], [12, 50]], include_interaction=True)
masks.append(buffer.copy())
session.add_point_interaction((3, 30, 30), include_interaction=False)
masks.append(buffer.copy())
for _ in range(2):
    session.undo()
    masks.append(buffer.copy())
np.save(folder / "masks.npy", np.stack(masks))
(folder / "seen.json").write_text(json.dumps({k: bool(v) for k, v in session.supported_interactions.items()}))
