"""Every word a person reads, as Jinja2 templates.

This package exists so that they are installed with the code.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
