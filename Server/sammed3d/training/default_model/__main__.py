"""`python -m sammed3d.training.default_model` trains the default model."""

import sys

import typer

from sammed3d.errors import SAMMed3DError
from sammed3d.training.default_model.train import main

if __name__ == "__main__":
    try:
        typer.run(main)
    except SAMMed3DError as error:
        sys.exit(f"Error: {error}")
