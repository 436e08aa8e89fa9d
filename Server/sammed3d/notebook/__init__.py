"""Segment in a Jupyter notebook, by clicking. Needs the extra `notebook`."""

from sammed3d.notebook.clicker import Clicker

__all__ = ["Clicker"]
