"""Reading and writing: volumes, masks, data sets."""
