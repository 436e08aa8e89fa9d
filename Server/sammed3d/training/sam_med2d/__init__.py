"""SAM-Med2D's training on 2-D images."""
