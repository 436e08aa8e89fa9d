"""Hidden module that adds the effect "SAM-Med3D" to the Segment Editor."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule


class SegmentEditorSAMMed3D(ScriptedLoadableModule):
    """Registers the effect when the application has started."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SegmentEditorSAMMed3D")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SAMMed3DSegment"]
        self.parent.contributors = ["SAMMed3DSegment contributors"]
        self.parent.hidden = True
        self.parent.helpText = _("Adds the effect SAM-Med3D to the Segment Editor.")
        slicer.app.connect("startupCompleted()", self.registerEffect)

    def registerEffect(self) -> None:
        """Make the effect known to all Segment Editors."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects  # noqa: PLC0415 - there once Slicer has started

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        source = Path(__file__).parent / "SegmentEditorSAMMed3DLib" / "SegmentEditorEffect.py"
        effect.setPythonSource(source.as_posix())
        effect.self().register()
