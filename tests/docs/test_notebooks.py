"""The notebooks run from top to bottom, at small sizes, and hold no outputs."""

import json
import os

import pytest

from tests.conftest import LESS_OPTIMISED
from tests.docs.blocks import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

SMALL = {
    "importance": 'SIZE = (260, 200)\nPATCH = 130\nAGE, SEX, SEED = 120, "F", 3',
    "phantom_tour": 'SIZE = (260, 208)\nAGES = (48, 144)\nCOUNTS = "6,2,2"',
    "predict_and_look": "SIZE = (260, 208)\nAGES = (96,)",
}
"""Assignments that are added to the cell tagged `parameters`."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_no_outputs_are_stored(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    for cell in cells:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.engine
@each_notebook
def test_notebook_runs(path, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("XLA_FLAGS", LESS_OPTIMISED)  # for the kernel: one device
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a command that ran in this process before has set it to files
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    given = {line.partition(" = ")[0] for line in parameters.source.splitlines() if " = " in line}
    assert {line.partition(" = ")[0] for line in SMALL[path.stem].splitlines()} <= given
    parameters.source += "\n" + SMALL[path.stem]
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises where a cell does
    kinds = {kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert "image/png" in kinds, "its figures are shown"
