"""Configuration of Sphinx."""

from fedora_messaging import __version__

project = "fedora-messaging"
copyright = "the fedora-messaging developers"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Schema-checked messages on an AMQP topic bus"}
