"""Training asks an Apple GPU (MPS) for no double precision, which it does not have."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from sammed3d.simulation.training_clicks import first_clicks, next_clicks
from training_runs import log_of, recipe, run_of

MPS = torch.device("mps")


def refused(result):
    if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
    return result


class OnMps(torch.Tensor):
    """A tensor that says that it lies on an Apple GPU."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func == torch.Tensor.device.__get__:
            return MPS
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - it has no other name
            result = func(*args, **(kwargs or {}))
            if func is torch.Tensor.cpu:
                return result.as_subclass(torch.Tensor)
            return refused(result.as_subclass(OnMps) if type(result) is torch.Tensor else result)


class BroughtThere(TorchFunctionMode):
    """Lets tensors be moved to the GPU that is not there, or made on it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to and args[1:] == (MPS,):
            return refused(args[0]).as_subclass(OnMps)
        given = dict(kwargs or {})
        if given.get("device") == MPS:
            return refused(func(*args, **(given | {"device": "cpu"}))).as_subclass(OnMps)
        return func(*args, **given)


def test_clicks_are_drawn_there_as_on_a_processor():
    targets = torch.zeros(2, 1, 12, 12, 12)
    targets[0, 0, 2:9, 3:10, 4:11] = 1
    targets[1, 0, 8:10, 8:10, 8:10] = 1
    drawn = []
    for objects in (targets, targets.as_subclass(OnMps)):
        generator = torch.Generator().manual_seed(0)
        with BroughtThere():
            voxels, labels = next_clicks(-torch.ones_like(objects), objects, generator, count=3)
            drawn.append((first_clicks(objects, generator).tolist(), voxels.tolist(), labels.tolist()))
    assert drawn[0] == drawn[1]


@pytest.mark.slow
def test_a_run_counts_its_losses_without(data, tmp_path, monkeypatch):
    make = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda *values, **options: refused(make(*values, **options)))
    run = run_of(data, tmp_path, recipe(epochs=1))
    run.train()
    [row] = log_of(tmp_path)
    assert float(row["loss"]) > 0
    assert 0 <= float(row["dice"]) <= 1
