"""The registry of published models, and the models on this computer."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_download import Server
from typer.testing import CliRunner

from sammed3d.cli.app import app
from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import CheckpointError, ModelError, ModelWarning, PredictionCancelled
from sammed3d.nets import build
from sammed3d.zoo import load_predictor, registry
from sammed3d.zoo.checkpoint import read_checkpoint, write_checkpoint
from sammed3d.zoo.families import FAMILIES
from sammed3d.zoo.folders import default_folder, exported_folder
from sammed3d.zoo.load import load_model
from sammed3d.zoo.store import BUNDLED, COPY_CHUNK, ModelStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    return ModelStore()


@pytest.fixture
def server(monkeypatch, tiny_checkpoint):
    """A server of a small model, which is published as "tiny"."""
    server = Server()
    server.content = tiny_checkpoint.read_bytes()
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/model.pth"))
    tiny = vars(registry.entry("sam_med3d_turbo")) | {
        "name": "tiny",
        "family": None,
        "url": "{huggingface}/tiny.safetensors",
        "file": "tiny.safetensors",
    }
    known = (*registry.entries(), registry.ModelEntry(**tiny))
    monkeypatch.setattr(registry, "entries", lambda: known)
    yield server
    server.http.shutdown()
    server.http.server_close()


def other_weights(content):
    """The same file with other numbers in it."""
    return content[:-4] + bytes(4)


def test_the_registry_holds_what_users_need_to_know():
    assert [e.name for e in registry.entries()[:2]] == ["default", "sam_med3d_turbo"], "the recommended ones come first"
    for entry in registry.entries():
        assert re.fullmatch(r"[a-z0-9_]+", entry.name)
        assert entry.family in FAMILIES or entry.name == "default"
        assert all((entry.title, entry.purpose, entry.licence, entry.licence_source, entry.citation))
        assert entry.page.startswith("https://")
        assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)


def test_every_published_family_has_an_entry():
    without_weights = {name for name in FAMILIES if name.startswith("sam_med3d_vit_")}
    variants = {"fastsam3d_windowed", "ct_lidc_96", "ct_lidc_32_slices"}  # of the same publications
    expected = {n for n, f in FAMILIES.items() if not f.on_request} - without_weights - variants
    assert {entry.family for entry in registry.entries()} - {None} == expected


def test_a_mirror_of_the_hub_can_be_named(monkeypatch):
    entry = registry.entry("sam_med3d_turbo")
    assert entry.address().startswith("https://huggingface.co/blueyo0/SAM-Med3D/resolve/main/")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example.org/")
    assert entry.address() == "https://mirror.example.org/blueyo0/SAM-Med3D/resolve/main/sam_med3d_turbo.pth"


def test_models_without_an_address_say_where_people_get_them(store):
    with pytest.raises(ModelError, match=r"Get the file from https://.*; import it"):
        store.fetch("fastsam3d")


@pytest.mark.parametrize("change", [{"size": ...}, {"colour": "red"}])
def test_a_malformed_registry_is_refused(change):
    data = [vars(registry.entries()[0]) | change]
    if change.get("size") is ...:
        del data[0]["size"]
    with pytest.raises(ModelError, match=r"missing or unknown: (size|colour)"):
        registry.parse(data)


def test_a_download_is_recorded_and_checked_the_next_time(store, server):
    model = store.fetch("tiny")
    assert model.path.read_bytes() == server.content
    assert (model.sha256, model.size) == (hashlib.sha256(server.content).hexdigest(), len(server.content))
    assert store.fetch("tiny") == model
    assert len(server.ranges) == 1, "what is there is not downloaded again"
    assert store.model("tiny") == model
    store.remove("tiny")
    server.content = other_weights(server.content)
    with pytest.raises(ModelError, match=r"not the published file.*models download tiny --renew"):
        store.fetch("tiny")
    assert [m.name for m in store.models() if not m.is_bundled] == []
    assert store.fetch("tiny", renew=True).sha256 == hashlib.sha256(server.content).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>Please log in</html>", "is a web page, not a file of weights"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", "no weights|none of the known networks|damaged"),
        (b"", "is something else, not a file of weights"),
    ],
)
def test_what_is_no_model_is_not_recorded(store, server, content, message):
    weights, server.content = server.content, content
    with pytest.raises(ModelError, match=rf"127\.0\.0\.1:\d+ sent is not this model.*({message})"):
        store.fetch("tiny")
    done = CliRunner().invoke(app, ["models", "download", "tiny"])
    assert done.exit_code == 1
    assert [m.name for m in store.models() if not m.is_bundled] == []
    assert not list(store.folder.glob("*/*")), "nothing is left of it"
    server.content = weights
    assert store.fetch("tiny").sha256 == hashlib.sha256(weights).hexdigest(), "no checksum of the page is in the way"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs a system that lists what is mapped")
def test_what_is_no_model_is_deleted_where_files_in_memory_cannot_be_as_on_windows(
    store, server, tmp_path, monkeypatch
):
    write_checkpoint(tmp_path / "other.safetensors", {"x": torch.zeros(3)})
    server.content = (tmp_path / "other.safetensors").read_bytes()
    rmtree = shutil.rmtree

    def refuses(folder, *args, **options):
        if str(folder) in Path("/proc/self/maps").read_text():
            raise PermissionError(13, "The process cannot access the file because it is being used", str(folder))
        rmtree(folder, *args, **options)

    monkeypatch.setattr(shutil, "rmtree", refuses)
    with pytest.raises(ModelError, match="sent is not this model, so it was deleted"):
        store.fetch("tiny")
    assert not (store.folder / "tiny").exists()


def test_a_model_that_another_program_uses_is_told(store, tiny_checkpoint, monkeypatch):
    model = store.add(tiny_checkpoint, "mine")
    exported = exported_folder(store.folder) / "some"
    exported.mkdir(parents=True)
    (exported / "model.json").write_text(json.dumps({"source_sha256": model.sha256}))
    rmtree = shutil.rmtree

    def refuses(folder, *args, **options):
        if folder == exported:
            raise PermissionError(13, "Access is denied", str(folder))
        rmtree(folder, *args, **options)

    with monkeypatch.context() as windows:
        windows.setattr(shutil, "rmtree", refuses)
        with pytest.raises(
            ModelError, match=r"mine: .* could be deleted \(Access is denied\)\. Close programs that use"
        ):
            store.remove("mine")
    assert store.model("mine").path.is_file(), "and can be removed again"
    store.remove("mine")
    assert not exported.exists()


def test_an_import_under_a_published_name_is_that_model(store, tmp_path):
    file = tmp_path / "downloaded.pth"
    torch.save({"model_state_dict": build("sam_med3d").state_dict()}, file)
    done = CliRunner().invoke(app, ["models", "import", str(file), "--name", "ct_lidc"])
    assert done.exit_code == 0, done.output
    model, entry = store.model("ct_lidc"), registry.entry("ct_lidc")
    assert (model.family, model.title, model.licence) == ("ct_lidc", entry.title, entry.licence)
    assert load_predictor("ct_lidc", "cpu").preset.clamp == (-1024, 300)
    told = CliRunner().invoke(app, ["models", "info", "ct_lidc"]).output
    assert f"licence_source: {entry.licence_source}\npage: {entry.page}\ncitation: {entry.citation}\n" in told
    turbo = file.rename(tmp_path / "sam_med3d_turbo.pth")
    for name in ("ct_lidc", turbo):
        assert load_model(name).licence == registry.entry(getattr(name, "stem", name)).licence
    file = turbo
    done = CliRunner().invoke(app, ["models", "import", str(file), "--name", "sam_med2d"])
    assert done.exit_code == 1, "it does not fit"
    assert [m.name for m in store.models() if not m.is_bundled] == ["ct_lidc"]


def test_the_command_says_where_a_checksum_comes_from(store, server):
    done = CliRunner().invoke(app, ["models", "download", "tiny"])
    assert done.exit_code == 0, done.output
    assert hashlib.sha256(server.content).hexdigest() in done.output
    assert "later downloads have to match" in " ".join(done.output.split())


def test_a_changed_file_is_noticed(store, server):
    model = store.fetch("tiny")
    store.verify("tiny")
    model.path.write_bytes(server.content[:-1])
    with pytest.raises(ModelError, match="was changed since it was installed"):
        store.verify("tiny")


def test_a_checkpoint_is_imported_and_loaded_by_name(store, tiny_checkpoint, tmp_path):
    mine = tmp_path / "Mine-1.safetensors"
    shutil.copyfile(tiny_checkpoint, mine)
    model = store.add(mine, title="Mine", purpose="Testing.")
    assert model.name == "mine_1"
    assert model.sha256 == hashlib.sha256(mine.read_bytes()).hexdigest()
    mine.unlink()
    assert load_predictor(model.name, device="cpu").preset is not None
    assert store.model(model.name).title == "Mine"
    store.remove(model.name)
    with pytest.raises(ModelError, match="There is no model named"):
        load_predictor(model.name)


def test_a_stamp_tells_one_file_of_a_name_from_the_next(store, tiny_checkpoint):
    assert store.stamp("mine") == ""
    store.add(tiny_checkpoint, name="mine")
    first = store.stamp("mine")
    assert first == store.stamp("mine") != ""
    store.remove("mine")
    store.add(tiny_checkpoint, name="mine")
    assert store.stamp("mine") not in ("", first)
    assert store.stamp(str(store.folder / "mine")) == store.stamp("../mine") == store.stamp("") == ""


def test_exported_files_go_with_their_model(store, tiny_checkpoint):
    model = store.add(tiny_checkpoint, name="mine")
    for n, source in enumerate([model.sha256, "another"]):
        folder = exported_folder() / str(n)
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps({"source_sha256": source}))
    (killed := exported_folder() / "tmp0").mkdir()
    (killed / "encoder.onnx").write_bytes(bytes(5 << 20))
    store.remove("mine")
    assert sorted(f.name for f in exported_folder().iterdir()) == ["1", "tmp0"]
    cleared = CliRunner().invoke(app, ["models", "clear-cache"])
    assert cleared.exit_code == 0
    assert "5 MiB" in cleared.output
    assert not list(exported_folder().iterdir())


def test_an_import_keeps_what_the_file_says_of_itself(store, tiny_checkpoint, tmp_path):
    model = replace(load_model(tiny_checkpoint), licence="CC-BY-4.0", origin="trained at home")
    model.write(tmp_path / "mine.safetensors")
    stored = store.add(tmp_path / "mine.safetensors")
    assert (stored.title, stored.licence) == ("Tiny", "CC-BY-4.0")
    assert stored.source == "imported from mine.safetensors, trained at home"
    again = load_model("mine")
    assert again.about() == model.about()
    assert store.add(tmp_path / "mine.safetensors", "other", "Other", licence="MIT").licence == "MIT"
    model = load_model("other")
    assert (model.name, model.licence, model.origin) == ("Other", "MIT", "trained at home")
    model.write(tmp_path / "out.safetensors")
    assert load_model(tmp_path / "out.safetensors").about() == model.about(), "what is exported says the same"


def test_a_file_that_says_nothing_of_itself_is_called_what_it_was_imported_as(store, tiny_checkpoint, tmp_path):
    file, tiny = tmp_path / "epoch_84.safetensors", read_checkpoint(tiny_checkpoint)
    write_checkpoint(file, tiny.weights, **{key: value for key, value in tiny.metadata.items() if key != "name"})
    store.add(file, "sam_med3d_organ")
    store.add(file, "ours", "Our organs")
    store.add(file, "plain")
    store.add(file, "untitled", "")
    names = [load_model(name).name for name in ("sam_med3d_organ", "ours", "plain", "untitled", file)]
    assert names == ["SAM-Med3D-organ", "Our organs", "plain", "epoch_84", "epoch_84"]
    store.add(file, "sam_med3d_brain", licence="MIT")
    told = {name: CliRunner().invoke(app, ["models", "info", name]).output for name in ("sam_med3d_brain", "ours")}
    assert "citation: " in told["sam_med3d_brain"]
    assert "licence_source: " not in told["sam_med3d_brain"], "that of the published licence, which is another one"
    assert "citation: " not in told["ours"]


def test_a_folder_of_the_same_name_does_not_hide_an_installed_model(store, tiny_checkpoint, tmp_path, monkeypatch):
    store.add(tiny_checkpoint, name="mine")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert load_model("mine").name == "Tiny"
    with pytest.raises(ModelError, match="this folder holds neither"):
        load_model("./mine/")


@pytest.mark.slow
def test_a_model_is_exported_with_its_preprocessing(store, tiny_checkpoint, tmp_path):
    old = tmp_path / "published.pth"
    torch.save({"model_state_dict": build("fastsam3d").state_dict()}, old)
    done = CliRunner().invoke(app, ["models", "export", str(old), str(tmp_path / "new.safetensors")])
    assert done.exit_code == 0, done.output
    found = read_checkpoint(tmp_path / "new.safetensors")
    assert found.metadata["network"] == "fastsam3d"
    assert all(torch.equal(found.weights[k], v) for k, v in read_checkpoint(old).weights.items())
    load_model(tiny_checkpoint).write(tmp_path / "tiny.safetensors")
    predictor = load_predictor(tmp_path / "tiny.safetensors", device="cpu")
    assert predictor.preset == load_predictor(tiny_checkpoint, device="cpu").preset
    with pytest.raises(ModelError, match=r"written as \.safetensors"):
        load_model("default").write(tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"x\.safetensors: cannot be written\. Check its name"):
        load_model(tiny_checkpoint).write(tmp_path / "nowhere" / "x.safetensors")
    longest = tmp_path / f"{'x' * 243}.safetensors"
    load_model(tiny_checkpoint).write(longest)
    with pytest.raises(ModelError, match=r"cannot be written\. Check its name"):
        load_model(tiny_checkpoint).write(longest.with_stem("x" * 244))
    assert not list(tmp_path.glob(".*")), "nothing is left of what could not be written"
    torch.save({"model_state_dict": {}}, old)
    with pytest.raises(CheckpointError):
        load_model(old)
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"name": "mine", "path": "../../other/gone.pth"}', None])
def test_a_damaged_model_is_left_out_and_said_and_the_others_stay(store, tiny_checkpoint, content):
    store.add(tiny_checkpoint, name="mine")
    store.add(tiny_checkpoint, name="other")
    about = store.folder / "mine" / "model.json"
    if content is None:
        (store.folder / "mine" / tiny_checkpoint.name).unlink()
    else:
        about.write_text(content)
    with pytest.warns(ModelWarning, match=r"mine is left out: its .* Delete that folder, and install"):
        assert [model.name for model in store.models()] == ["default", "other"]
    with pytest.warns(ModelWarning):
        assert store.add(tiny_checkpoint, name="mine").name == "mine", "it can be installed again"
    assert [model.name for model in store.models()] == ["default", "mine", "other"]


def test_what_a_newer_version_adds_does_not_matter_and_weights_lie_beside(store, tiny_checkpoint):
    about = store.add(tiny_checkpoint, name="mine").path.with_name("model.json")
    said = json.loads(about.read_text())
    about.write_text(json.dumps(said | {"colour": "blue", "path": f"../../{said['path']}"}))
    assert store.model("mine").path == about.with_name(tiny_checkpoint.name)
    (exported_folder(store.folder) / "x").mkdir(parents=True)
    (exported_folder(store.folder) / "x" / "model.json").write_text("")
    store.remove("mine")
    assert not about.parent.exists()


def test_damaged_checksums_are_told(store, server):
    store.folder.mkdir()
    (store.folder / "pins.json").write_text("{")
    with pytest.raises(ModelError, match=r"pins\.json: the checksums that downloads recorded cannot be read"):
        store.fetch("tiny")


def test_imports_that_cannot_be_are_refused(store, tiny_checkpoint, tmp_path):
    store.add(tiny_checkpoint, name="mine")
    with pytest.raises(ModelError, match="a model named 'mine' already"):
        store.add(tiny_checkpoint, name="mine")
    with pytest.raises(ModelError, match="cannot be a model's name"):
        store.add(tiny_checkpoint, name="../../etc")
    with pytest.raises(ModelError, match=r"'aux' cannot be a model's name: it is that of a device on Windows\."):
        store.add(tiny_checkpoint, name="aux")
    with pytest.raises(ModelError, match="there is no such file"):
        store.add(tmp_path / "absent.pth")
    (tmp_path / "image.nii.gz").write_bytes(b"")
    with pytest.raises(ModelError, match="not a checkpoint"):
        store.add(tmp_path / "image.nii.gz")


def test_a_published_model_that_is_not_here_says_how_to_get_it(store):
    with pytest.raises(ModelError, match="sammed3d models download sam_med3d_turbo"):
        load_predictor("sam_med3d_turbo")
    with pytest.raises(ModelError, match=r"Get the file from https://.*sammed3d models import FILE --name bosam"):
        load_predictor("bosam")


def test_the_bundled_model_cannot_be_removed(store):
    if not BUNDLED.is_file():
        pytest.skip("this source tree has no default model")
    with pytest.raises(ModelError, match="part of the installation"):
        store.remove("default")


def test_models_are_kept_in_the_platforms_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SAMMED3D_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert default_folder() == tmp_path / "sammed3d" / "models"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_folder() == tmp_path / "local" / "sammed3d" / "models"


def test_an_import_that_is_stopped_leaves_nothing(store, tiny_checkpoint, tmp_path):
    before, cancellation, seen = set(store.folder.rglob("*")), Cancellation(), []

    def progress(done, total):
        seen.append((done, total))
        cancellation.cancel()

    file = tmp_path / "large.safetensors"
    file.write_bytes(bytes(COPY_CHUNK + 1))
    with pytest.raises(PredictionCancelled):
        store.add(file, progress=progress, cancellation=cancellation)
    assert seen == [(COPY_CHUNK, COPY_CHUNK + 1)]
    assert set(store.folder.rglob("*")) == before
