"""Configuration of Sphinx."""

import sys
from pathlib import Path

from fedora_messaging import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fedora-messaging"
copyright = "the fedora-messaging developers"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "row_anchors",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
exclude_patterns = ["_build"]
# Leave the prompt and the output out of what is copied.
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"fedora-messaging {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f5fbf",
        "color-brand-content": "#1f5fbf",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7fb2ff",
        "color-brand-content": "#7fb2ff",
    },
    "top_of_page_buttons": ["view"],
    "source_repository": "https://github.com/fedora-infra/fedora-messaging/",
    "source_branch": "main",
    "source_directory": "docs/",
}
