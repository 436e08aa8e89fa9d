"""The protocol of nnInteractive 2, so that its clients (3D Slicer, napari, others) can use the models served here."""
