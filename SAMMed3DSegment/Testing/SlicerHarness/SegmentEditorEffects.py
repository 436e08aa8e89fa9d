"""Stand-in for the package of Slicer's own effects: the base class of scripted ones."""

import slicer


class AbstractScriptedSegmentEditorEffect:
    """What a scripted effect inherits: it is given the application's side, and can be registered."""

    def __init__(self, scriptedEffect):
        self.scriptedEffect = scriptedEffect

    def register(self):
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self):
        pass
