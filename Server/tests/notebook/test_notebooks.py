"""The notebooks of the documentation run as they are, with what ships."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[3] / "docs" / "notebooks"


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.ipynb")), ids=lambda file: file.stem)
def test_a_notebook_runs_from_top_to_bottom(file, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    notebook = nbformat.read(file, 4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code"), (
        "it is kept without its outputs"
    )
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= kinds
    assert not [output for output in shown if output.get("name") == "stderr"]


def test_there_are_notebooks():
    assert list(FOLDER.glob("*.ipynb"))
