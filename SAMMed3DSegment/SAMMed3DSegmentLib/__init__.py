"""Between MRML and `sammed3d`: volumes, point lists and segments. No file here imports qt."""
