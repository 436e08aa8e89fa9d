# Slicer's macros, none of which this extension needs to be configured.
