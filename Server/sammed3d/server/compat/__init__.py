"""The protocols of other clients: nnInteractive and MONAI Label."""
