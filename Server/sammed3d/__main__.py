"""`python -m sammed3d` is the command line."""

from sammed3d.cli.app import main

main()
