"""Stands for slicer.i18n: no translation."""


def tr(text):
    """Return the text itself."""
    return text


def translate(context, text):
    """Return the text itself."""
    return text
