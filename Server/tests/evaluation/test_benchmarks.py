"""Published tables on small stand-ins for the data: rows, protocol, and which numbers stand beside ours."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.evaluation import metrics
from sammed3d.evaluation.benchmarks import ALL, BENCHMARKS, OTHER, best_of, markdown, rows_of
from sammed3d.evaluation.protocols import PROTOCOLS
from sammed3d.evaluation.run import evaluate
from sammed3d.files.datasets import find_cases
from sammed3d.files.image_lists import ListedImage, write_lists
from sammed3d.zoo import load_predictor

SHAPE = (24, 26, 20)
STATED = {
    "sam_med3d": {ALL: {"1": 76.27, "3": 79.02, "5": 79.75, "10": 80.71}},
    "fastsam3d": {},
    "bosam": {
        ALL: {"1": 81.68, "5": 82.71, "10": 83.01},
        "SAM-Med3D-turbo, as BoSAM reports it": {"1": 39.05, "5": 62.41, "10": 67.49},
    },
    "sam_med2d": {ALL: {"box": 79.30, "1": 70.01, "3": 76.35, "5": 78.68}},
}
"""All published numbers that are shown."""


def run(*arguments):
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def ball(centre, radius=5):
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < radius**2


def write_case(image, label, labels):
    affine = make_affine((3.0, 3.0, 3.0))
    for file, array in ((image, phantom(SHAPE).astype(np.int16)), (label, labels.astype(np.uint8))):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_image(file, array, affine)


def published_layout(folder):
    """STRUCTURE/DATASET/imagesTs, as SAM-Med3D has its validation data."""
    for structure, centre in (("liver", (10, 10, 10)), ("lung_tumor", (14, 12, 8)), ("spinal_cord", (8, 14, 12))):
        place = folder / structure / "ct_A"
        write_case(place / "imagesTs" / "a.nii.gz", place / "labelsTs" / "a.nii.gz", ball(centre))
    return folder


def nnunet(folder):
    """As AMOS comes."""
    labels = 1 * ball((8, 8, 8), 4) + 2 * ball((16, 16, 12), 4)
    write_case(folder / "imagesTr" / "amos_1_0000.nii.gz", folder / "labelsTr" / "amos_1.nii.gz", labels)
    about = {"labels": {"0": "background", "1": "right kidney", "2": "postcava"}}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def bosam(folder):
    """ImagesVal without a dataset.json, as BoSAM has it."""
    write_case(folder / "imagesVal" / "b.nii.gz", folder / "labelsVal" / "b.nii.gz", ball((10, 12, 10)))
    return folder


def lists(folder):
    """As SAM-Med2D publishes them."""
    mask = ball((10, 12, 10))[:, :, 10].astype(np.uint8)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    files = [folder / "images" / "x.png", folder / "masks" / "x_liver_000.png"]
    for file, pixels in zip(files, (phantom(SHAPE)[:, :, 10] % 200, mask), strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(pixels.astype(np.uint8)), str(file))
    write_lists(folder, [], [ListedImage(files[0], (files[1],))])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layout", "rows"),
    [
        ("sam_med3d", published_layout, [("lesion", 1), ("abdomen and thorax", 1), (OTHER, 1), (ALL, 3)]),
        ("fastsam3d", nnunet, [("right kidney", 1), ("inferior vena cava", 1), (ALL, 2)]),
        ("bosam", bosam, [("label 1", 1), (ALL, 1), ("SAM-Med3D-turbo, as BoSAM reports it", 0)]),
        ("sam_med2d", lists, [("liver", 1), (ALL, 1)]),
    ],
)
def test_each_table_comes_from_data_of_its_layout(name, layout, rows, tiny_checkpoint, tiny_checkpoint_2d, tmp_path):
    chosen, data = BENCHMARKS[name], layout(tmp_path / "data")
    model = tiny_checkpoint_2d if chosen.lists else tiny_checkpoint
    result = run(name, data, "--model", model, "--device", "cpu", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    table = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert [(row["name"], row["count"]) for row in table["rows"]] == rows
    for row in table["rows"]:
        assert row["published"] == STATED[name].get(row["name"], {})
        assert set(row["ours"]) == (set(chosen.columns) if row["count"] else set())
        assert all(0 <= value <= 100 for value in row["ours"].values())
    text = (tmp_path / "out" / "benchmark.md").read_text()
    assert chosen.source in text
    assert chosen.measured in text
    again = run(name, data, "--model", model, "-o", tmp_path / "out")
    assert again.exit_code == 1
    assert "exists already" in " ".join(again.output.split())


def test_no_other_number_stands_in_a_table():
    assert {name: dict(each.published) for name, each in BENCHMARKS.items()} == STATED


@pytest.mark.slow
def test_a_number_of_points_stands_for_the_best_click_so_far(tiny_checkpoint, tmp_path):
    data = published_layout(tmp_path / "data")
    result = run("sam_med3d", data, "--model", tiny_checkpoint, "--device", "cpu", "-o", tmp_path / "out", "--json")
    ours = {row["name"]: row["ours"] for row in json.loads(result.stdout)["rows"]}
    predictor = load_predictor(tiny_checkpoint, "cpu", all_clicks=False)
    done = evaluate(predictor, find_cases(data), PROTOCOLS["classic"], clicks=10)
    [liver] = [which for which in done.structures if which[1] == "liver"]
    curve = done.of(predictor.name, *liver)
    assert ours["abdomen and thorax"] == pytest.approx({n: 100 * max(curve[: int(n)]) for n in ("1", "3", "5", "10")})
    assert best_of([0.2, 0.5, 0.4], ("1", "3")) == {"1": 0.2, "3": 0.5}


@pytest.mark.parametrize(
    ("structure", "row"),
    [
        ("kidney_tumor", "lesion"),
        ("vertebrae_L1", "bone"),
        ("adrenal_gland_left", "gland"),
        ("heart_ventricle_right", "cardiac"),
        ("lateral ventricle", "brain"),
        ("gluteus_maximus_left", "muscle"),
        ("Left Kidney", "abdomen and thorax"),
        ("rib_left_3", "bone"),
        ("something", OTHER),
    ],
)
def test_structures_belong_to_the_first_group_with_one_of_their_words(structure, row):
    assert BENCHMARKS["sam_med3d"].row_of(structure) == row


def test_cells_that_nobody_published_stay_empty():
    chosen = BENCHMARKS["fastsam3d"]
    rows = rows_of(chosen, [("liver", dict.fromkeys(chosen.columns, 0.5))])
    assert "| liver | 1 | 50.00 |  | 50.00 |  | 50.00 |  | 50.00 |  |" in markdown(chosen, "ours", rows)


def test_what_is_not_measured_is_listed(tiny_checkpoint, tmp_path):
    data = bosam(tmp_path / "data")
    write_case(data / "imagesVal" / "c.nii.gz", data / "labelsVal" / "c.nii.gz", np.zeros(SHAPE))
    result = run("bosam", data, "--model", tiny_checkpoint, "--device", "cpu", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "- c: an empty label map" in (tmp_path / "out" / "benchmark.md").read_text()
    unknown = run("nnunet", data)
    assert "Choose one of sam_med3d, fastsam3d, bosam, sam_med2d" in " ".join(unknown.output.split())
    assert "holds no label2image_test.json" in " ".join(run("sam_med2d", data, "-o", tmp_path / "x").output.split())


@pytest.mark.parametrize(("name", "layout", "after"), [("bosam", nnunet, 10), ("sam_med2d", lists, 6)])
def test_a_benchmark_that_is_stopped_writes_what_is_measured(
    name, layout, after, stopping, tiny_checkpoint, tiny_checkpoint_2d, tmp_path, monkeypatch
):
    """The second of two structures, or images, is not measured to the end."""
    data, asked, dice = layout(tmp_path / "data"), [], metrics.dice

    def stopped(mask, truth):
        asked.append(1)
        if len(asked) > after:
            stopping.now()
        return dice(mask, truth)

    monkeypatch.setattr(metrics, "dice", stopped)
    given = [data, data] if layout is lists else [data]
    model = tiny_checkpoint_2d if layout is lists else tiny_checkpoint
    result = run(name, *given, "--model", model, "--device", "cpu", "-o", tmp_path / "out")
    assert result.exit_code == stopping.exit_code, "as shells have it"
    table = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert table["left_out"] == ["the rest: it was stopped."]
    assert sum(row["count"] for row in table["rows"] if row["name"] == ALL) == 1


def test_cases_of_one_name_in_two_datasets_count_each(tiny_checkpoint, tmp_path):
    data = [bosam(tmp_path / name) for name in ("one", "two")]
    result = run("bosam", *data, "--model", tiny_checkpoint, "--device", "cpu", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "out" / "benchmark.json").read_text())["rows"]
    assert [(row["name"], row["count"]) for row in rows[:2]] == [("label 1", 2), (ALL, 2)]
