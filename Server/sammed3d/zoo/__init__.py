"""The zoo: which models exist, and how a name or a file becomes a predictor."""

from sammed3d.zoo.load import load_predictor

__all__ = ["load_predictor"]
