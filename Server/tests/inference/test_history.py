from sammed3d.core.prompts import Click
from sammed3d.inference.history import PromptHistory
from sammed3d.inference.inferer import PromptState

A, B, C = (PromptState((Click((float(n), 0, 0)),)) for n in range(3))


def test_undo_and_redo_walk_through_all_states():
    history = PromptHistory()
    first = history.now
    for state in (A, B, C):
        history.push(state)
    walked = []
    while history.can_undo:
        walked.append(history.step(-1))
    assert walked == [B, A, first]
    assert [history.step(+1) for _ in range(3)] == [A, B, C]
    assert history.at(+1) is None
    assert history.now is C


def test_a_new_state_forgets_what_was_undone():
    history = PromptHistory(A)
    history.push(B)
    history.step(-1)
    history.push(C)
    assert not history.can_redo
    assert history.at(-1) is A


def test_a_copy_goes_its_own_way():
    history = PromptHistory(A)
    history.push(B)
    kept = history.copy()
    history.step(-1)
    history.push(C)
    assert kept.now is B
    assert kept.at(-1) is A
    assert history.now is C
