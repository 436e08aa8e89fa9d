"""What the package loads and how much memory it takes, measured in processes of their own."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sammed3d


def run(code):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_needs_only_what_slicer_bundles():
    loaded = run(
        """
        import sys, sammed3d
        print(*[m for m in ("torch", "safetensors", "typer", "rich", "nibabel", "scipy") if m in sys.modules])
        """
    )
    assert loaded == []


WITH_TORCH = {
    *("nets", "training", "zoo/adapters", "zoo/onnx"),
    *(f"predictors/{name}.py" for name in ("device", "machine", "network", "processor", "products", "tensor_cache")),
    *("predictors/torch_predictor.py", "simulation/training_clicks.py", "evaluation/images.py"),
    *(f"zoo/{name}.py" for name in ("checkpoint", "families", "model")),
}


def test_torch_is_imported_where_the_map_says_and_nowhere_else():
    package = Path(sammed3d.__file__).parent
    found = {
        path.relative_to(package)
        for path in package.rglob("*.py")
        if re.search(r"^\s*(import|from) torch\b", path.read_text(encoding="utf-8"), re.M)
    }
    assert {path.as_posix() for path in found if not {path, *path.parents} & set(map(Path, WITH_TORCH))} == set()


def test_what_apple_gpus_lack_runs_on_the_processor_unless_the_user_says_otherwise():
    """Without it, a click ends there with "not currently implemented for the MPS device"; torch reads it once."""
    code = """
        import os, sys, numpy, SimpleITK
        sys.platform, known = {platform!r}, {known!r}
        os.environ.pop("PYTORCH_ENABLE_MPS_FALLBACK", None)
        os.environ.update(known)
        import sammed3d
        print(os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK"), "torch" in sys.modules)
        """
    for platform, known, expected in (
        ("darwin", {}, "1"),
        ("darwin", {"PYTORCH_ENABLE_MPS_FALLBACK": "0"}, "0"),
        ("linux", {}, "None"),
    ):
        assert run(code.format(platform=platform, known=known)) == [expected, "False"]


NOT_FOR_SEGMENTING = (
    "requests",
    "PIL",
    "scipy",
    "pandas",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "pydicom",
    "pydantic_settings",
    "fastapi",
    "uvicorn",
    "ray",
    "torchio",
    "sympy",
    "torch._dynamo",
    "torch._inductor",
    "sammed3d.evaluation",
    "sammed3d.server",
    "sammed3d.training",
    "sammed3d.cli.serve",
    "sammed3d.cli.train",
)


@pytest.mark.slow
def test_segmenting_a_volume_loads_nothing_that_it_does_not_need(tiny_checkpoint, tmp_path):
    loaded = run(
        f"""
        import contextlib, io, sys
        from sammed3d import samples
        from sammed3d.cli.app import main
        sys.argv = ["sammed3d", "segment", str(samples.CT_ABDOMEN), "--click=2,161,262", "--model={tiny_checkpoint}",
                    "--output={tmp_path / "mask.nii.gz"}", "--device=cpu"]
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            main()
        print("torch" in sys.modules, *(m for m in {NOT_FOR_SEGMENTING!r} if m in sys.modules))
        """
    )
    assert loaded == ["True"]
    assert (tmp_path / "mask.nii.gz").is_file()


@pytest.mark.slow
def test_the_server_leaves_torch_to_its_workers():
    loaded = run(
        """
        import sys
        import sammed3d.server.serve
        print(*(m for m in ("torch", "ray", "blosc2") if m in sys.modules))
        """
    )
    assert loaded == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_large_ct_needs_little_more_than_itself(tmp_path):
    """512 x 512 x 1000 int16: the volume and 0.5 GiB, from the file to the written mask."""
    prelude = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import SimpleITK as sitk
        from helpers import ThresholdPredictor, make_affine
        from sammed3d import Grid, Session, Volume
        from sammed3d.files.volume import image_on
        """
    run(
        f"""{prelude}
        image = image_on(Grid((512, 512, 1000), make_affine((0.7, 0.7, 1.0))), sitk.sitkInt16)
        image[0:512, 0:512, 0:400] = 7
        image[200:300, 200:300, 400:600] = 200
        sitk.WriteImage(image, "{tmp_path}/large.nii.gz", True, 1)
        """
    )
    [peak_kib] = run(
        f"""{prelude}
        session = Session(Volume.read("{tmp_path}/large.nii.gz"), ThresholdPredictor())
        assert session.volume.array.dtype == "int16"
        for s in (500.0, 450.0, 400.0):
            session.click((170.0, 170.0, s))
        assert session.current.mask is not None
        session.save("{tmp_path}/mask.nii.gz")
        print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
        """
    )
    volume_mib = 512 * 512 * 1000 * 2 / 2**20
    assert int(peak_kib) / 1024 < volume_mib + 512
