"""A hook of mkdocs: show the notebooks of docs/notebooks as pages of the site.

Links to the notebooks work on GitHub, too, which shows notebooks itself.
"""

import html
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

LINK = re.compile(r"(\]\([\w./-]*notebooks/[\w-]+)\.ipynb\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page for each notebook."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            text = page(Path(config.docs_dir) / file.src_uri)
            name = file.src_uri.removesuffix(".ipynb") + ".md"
            files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead the links to notebooks to their pages."""
    return LINK.sub(r"\1.md)", markdown)


def page(path: Path) -> str:
    """Return a notebook with its stored outputs as Markdown.

    Parameters
    ----------
    path : Path
    """
    notebook = nbformat.read(path, as_version=4)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.source:
            parts += [f"```python\n{cell.source}\n```", *map(_output, cell.outputs)]
    parts.append(f"[Download this notebook]({path.name})")
    return "\n\n".join(part for part in parts if part) + "\n"


def _output(output: Any) -> str:
    """Return an output: a picture, a table or text."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = data["image/png"].replace("\n", "")
        return f'<img alt="The chart that the cell draws" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL)
        lines = [line.strip() for line in table.splitlines() if line.strip()]
        return f'<div class="notebook-output">{"".join(lines)}</div>'
    text = output.get("text") or data.get("text/plain", "")
    return f"<pre>{html.escape(text.rstrip())}</pre>" if text else ""
