"""Execute the notebooks of docs/: ``python -m tests.notebooks`` stores their outputs."""

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = tuple(sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")))


def execute(path: Path, folder: Path) -> Any:
    """Return a notebook with new outputs.

    Parameters
    ----------
    path : Path
    folder : Path
        Where it runs; files that it writes stay there.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {name: value for name, value in os.environ.items() if "RETENTION" not in name}
    environment = settings | {"PYTHONPATH": os.pathsep.join(paths), "IPYTHONDIR": str(folder)}
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment)
    return notebook


def main() -> None:
    """Execute all notebooks and store the outputs, without times and versions of this machine."""
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        for cell in notebook.cells:
            cell.metadata = {}
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
