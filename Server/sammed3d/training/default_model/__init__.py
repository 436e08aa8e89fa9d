"""Training of the default model that ships with the package."""
