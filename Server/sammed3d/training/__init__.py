"""Training networks on labelled volumes."""
