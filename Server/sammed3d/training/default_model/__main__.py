"""`python -m sammed3d.training.default_model` trains the default model."""

import typer

from sammed3d.training.default_model.train import main

if __name__ == "__main__":
    typer.run(main)
