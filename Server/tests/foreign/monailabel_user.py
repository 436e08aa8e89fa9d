"""A user of the MONAI Label client, as it comes from its publisher."""

import json
import re
import sys
from pathlib import Path

from monailabel.client import MONAILabelClient

url, folder, user, key = sys.argv[1:5]
clicks = json.loads(Path(folder, "clicks.json").read_text())
client = MONAILabelClient(url, tmpdir=folder)
seen = {"auth": client.auth_enabled()}
if seen["auth"]:
    client.update_auth(client.auth_token(user, key))
    seen["valid"] = client.auth_valid_token()
seen["models"] = {name: model["type"] for name, model in client.info()["models"].items()}
session = client.create_session(f"{folder}/{sys.argv[5]}")["session_id"]
seen["session"] = client.get_session(session)["shape"]
seen["datastore"], seen["next"] = client.datastore(), client.next_sample("random", {})
seen["trains"] = client.train_status(check_if_running=True)
results = []
for count in range(1, len(clicks) + 1):
    params = {
        "label": "thing",
        "foreground": [c[:3] for c in clicks[:count] if c[3]],
        "background": [c[:3] for c in clicks[:count] if not c[3]],
        "result_extension": ".nrrd" if count % 2 else ".nii.gz",
        "result_dtype": "uint8",
    }
    file, answer = client.infer("default", "", params, session_id=session)
    kept = Path(file).with_name(f"{count}-{Path(file).name}")
    results.append(str(Path(file).rename(kept)))
seen["results"], seen["answer"] = results, answer
client.remove_session(session)
for name, call in {
    "gone": lambda: client.get_session(session),
    "path": lambda: client.infer("default", "/etc/passwd", {"foreground": [[1, 2, 3]], "image": "/etc/passwd"}),
    "model": lambda: client.infer("../../etc", "", {}),
    "upload": lambda: client.upload_image(f"{folder}/{sys.argv[5]}", "a"),
    "save": lambda: client.save_label("a", f"{folder}/{sys.argv[5]}", "final"),
    "label": lambda: client.download_label("a", "final"),
    "wsi": lambda: client.wsi_infer("default", "a"),
    "train": lambda: client.train_start("default", {}),
    "training": client.train_status,
}.items():
    try:
        call()
        seen[name] = "answered"
    except Exception as error:
        seen[name] = re.search(r"Status: (\d+)", str(error)).group(1)
Path(folder, "seen.json").write_text(json.dumps(seen))
