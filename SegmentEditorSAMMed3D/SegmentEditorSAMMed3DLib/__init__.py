"""The Segment Editor's effect "SAM-Med3D"."""
