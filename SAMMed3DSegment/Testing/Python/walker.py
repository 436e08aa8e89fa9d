"""What random walks over the panel share."""


class Walker:
    """Presses undo and redo, and looks at what comes of it; a subclass has the panel.

    It has `ui`, `segmenter`, `segmentIds`, `digests` (what segments hold) and `settle`, and `step` does one of its
    actions, whose names it keeps in `done`.
    """

    def walk(self, actions, how):
        """Do so many actions; where one fails, `how` the walk is begun again is printed, and its newest actions."""
        try:
            for _ in range(actions):
                self.step()
        except BaseException:
            print(f"{how}; after {len(self.done)}: {self.done[-12:]}")
            raise

    def stepAndCheck(self, button, other):
        """What is offered is done, and can be taken back; what is not offered is not done."""
        could, before, prompts = bool(button.enabled), self.digests(), self.prompts()
        button.click()
        self.settle()
        if could:
            assert other.enabled, f"{button.text} was offered: {self.ui.statusLabel.text}"
        else:
            assert self.digests() == before
            assert self.prompts() == prompts

    def prompts(self):
        """The prompts in force of all segments."""
        return {name: self.segmenter.promptsInForce(name) for name in self.segmentIds()}
