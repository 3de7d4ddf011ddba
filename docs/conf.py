"""How Sphinx builds the documentation: `make docs`. Nothing is taken from the network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from reference_pages import write_all  # noqa: E402

import penstock  # noqa: E402

write_all(HERE / "reference")

project = "Penstock"
author = "the Penstock contributors"
copyright = "the Penstock contributors"
version = release = penstock.__version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
templates_path: list[str] = []
smartquotes = False  # what is code in a docstring would be changed
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "Penstock"
html_static_path = ["_static"]
html_css_files = ["penstock.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
_FONTS = {
    "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif",
    "font-stack--monospace": "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
}
html_theme_options = {
    "light_css_variables": {**_FONTS, "color-brand-primary": "#0b6e74", "color-brand-content": "#0b6e74"},
    "dark_css_variables": {"color-brand-primary": "#6cc5c9", "color-brand-content": "#6cc5c9"},
}
