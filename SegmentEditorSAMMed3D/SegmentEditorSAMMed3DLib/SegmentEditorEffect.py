"""The effect "SAM-Med3D" as the Segment Editor shows it; what it does is in SAMMed3DSegmentLib.EditorEffect."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _

import qt
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    """Click on a structure, and the selected segment becomes it.

    Args:
        scriptedEffect: the application's side of the effect.
    """

    def __init__(self, scriptedEffect) -> None:
        scriptedEffect.name = "SAM-Med3D"  # names it in scenes; not translated
        scriptedEffect.title = _("SAM-Med3D")
        scriptedEffect.perSegment = True
        scriptedEffect.requireSegments = True
        scriptedEffect.showEffectCursorInSliceView = False  # place mode has its own
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self._work = None

    # What the Segment Editor asks for

    def clone(self):
        """Return another one of its kind, for another Segment Editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects  # noqa: PLC0415 - there once Slicer has started

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource(Path(__file__).as_posix())
        return effect

    def icon(self):
        """Return the picture on the effect's button."""
        file = Path(__file__).with_suffix(".png")
        return qt.QIcon(str(file)) if file.is_file() else qt.QIcon()

    def helpText(self) -> str:
        """Return what is shown below the options."""
        return _(
            "<html>Press <b>Positive</b> and click on a structure in any view: the selected segment becomes it, in 3D. "
            "Click <b>Negative</b> where it took too much. Keys: P, N, Shift+F, X. The model, and whether it runs "
            "here or on a server, is chosen in the module SAMMed3DSegment.<br>"
            "Research software: not for clinical decisions.</html>"
        )

    def setupOptionsFrame(self) -> None:
        """Make the widgets."""
        icons = Path(slicer.util.modulePath("SAMMed3DSegment")).parent / "Resources" / "Icons"
        self.positiveButton, self.negativeButton = qt.QPushButton(_("Positive (P)")), qt.QPushButton(_("Negative (N)"))
        self.positiveButton.setToolTip(_("Click on what belongs to the structure. Stays on until switched off."))
        self.negativeButton.setToolTip(_("Click on what does not belong to it. Stays on until switched off."))
        buttons = qt.QHBoxLayout()
        for kind, button in (("Positive", self.positiveButton), ("Negative", self.negativeButton)):
            button.setCheckable(True)
            button.setIcon(qt.QIcon(str(icons / f"SAMMed3DSegment{kind}.png")))
            button.connect("clicked(bool)", self._onPositive if kind == "Positive" else self._onNegative)
            buttons.addWidget(button)
        self._setupFurther()
        self.textLabel = qt.QLabel()
        self.textLabel.setWordWrap(True)
        self.textLabel.setTextFormat(qt.Qt.PlainText)  # names come from scenes of others
        self.cancelButton, self.moduleButton = qt.QPushButton(_("Cancel")), qt.QPushButton(_("Model, server, more..."))
        self.cancelButton.setToolTip(_("Stop the prediction; its click is taken back."))
        self.moduleButton.setToolTip(_("Open the module SAMMed3DSegment with this volume and segment."))
        self.cancelButton.connect("clicked(bool)", self._onCancel)
        self.moduleButton.connect("clicked(bool)", self._onModule)
        more = qt.QHBoxLayout()
        more.addWidget(self.cancelButton)
        more.addWidget(self.moduleButton)
        self.scriptedEffect.addOptionsWidget(buttons)
        self.scriptedEffect.addOptionsWidget(self.further)
        self.scriptedEffect.addOptionsWidget(self.uncertaintyCheckBox)
        self.scriptedEffect.addOptionsWidget(self.textLabel)
        self.scriptedEffect.addOptionsWidget(more)

    def _setupFurther(self) -> None:
        """Make the widgets for what comes after a click."""
        self.followButton, self.nextButton = qt.QPushButton(_("Follow (Shift+F)")), qt.QPushButton(_("Where next? (X)"))
        self.followButton.setToolTip(
            _("Follow the object beyond what was looked at. One step of undo; Cancel keeps it.")
        )
        self.nextButton.setToolTip(_("Shows where the next click would change most. A adds it, Shift+A not, K skips."))
        self.uncertaintyCheckBox = qt.QCheckBox(_("Show uncertainty"))
        self.uncertaintyCheckBox.setToolTip(_("Lay over the image how unsure the model is."))
        self.followButton.connect("clicked(bool)", self._onFollow)
        self.nextButton.connect("clicked(bool)", self._onNext)
        self.uncertaintyCheckBox.connect("clicked(bool)", self._onUncertainty)
        self.further = qt.QHBoxLayout()
        for widget in (self.followButton, self.nextButton):
            self.further.addWidget(widget)

    def activate(self) -> None:
        """The effect is chosen; the module is loaded now, not before."""
        from SAMMed3DSegmentLib.EditorEffect import EditorEffect  # noqa: PLC0415 - not when Slicer starts

        self._stop()
        panel = slicer.util.getModuleWidget("SAMMed3DSegment").panel
        effect = self.scriptedEffect
        self._work = EditorEffect(panel, effect.parameterSetNode(), effect.saveStateForUndo, self.updateGUIFromMRML)
        self.updateGUIFromMRML()

    def deactivate(self) -> None:
        """Another effect is chosen, or none."""
        self._stop()

    def cleanup(self) -> None:
        """The Segment Editor goes away."""
        self._stop()

    def sourceVolumeNodeChanged(self) -> None:
        """The editor has another source volume."""
        if self._work is not None:
            self._work.follow()

    def interactionNodeModified(self, _interactionNode) -> None:
        """Stay on in place mode, in which clicks are placed."""

    def updateGUIFromMRML(self) -> None:
        """Show how things stand."""
        work = self._work
        if work is None:
            return
        self.positiveButton.checked = work.placing is True
        self.negativeButton.checked = work.placing is False
        self.positiveButton.enabled = self.negativeButton.enabled = work.possible
        self.followButton.enabled = work.canFollow
        self.nextButton.enabled = self.uncertaintyCheckBox.enabled = work.canAsk
        self.uncertaintyCheckBox.checked = work.showsUncertainty
        self.cancelButton.enabled = work.busy
        self.textLabel.setText(work.text)

    # What the buttons do

    def _onPositive(self, on: bool) -> None:
        self._place(True if on else None)

    def _onNegative(self, on: bool) -> None:
        self._place(False if on else None)

    def _place(self, positive: bool | None) -> None:
        self._revived().place(positive)

    def _revived(self):
        if self._work.closed:  # the module was reloaded, or works for another Segment Editor
            self.activate()
        return self._work

    def _onFollow(self) -> None:
        self._revived().followObject()

    def _onNext(self) -> None:
        self._revived().whereNext()

    def _onUncertainty(self, on: bool) -> None:
        self._revived().showUncertainty(on)

    def _onCancel(self) -> None:
        self._work.cancel()

    def _onModule(self) -> None:
        slicer.util.selectModule("SAMMed3DSegment")

    def _stop(self) -> None:
        if self._work is not None:
            self._work.close()
            self._work = None
