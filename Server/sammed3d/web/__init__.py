"""The page in a browser: `sammed3d view`."""
