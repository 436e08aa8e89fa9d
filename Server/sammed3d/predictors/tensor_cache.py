"""A cache of tensors whose overflow goes from a GPU to the computer's memory."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from sammed3d.core.cache import LRUCache


class TensorCache:
    """A cache of tensors on a device, with a second one in the computer's memory.

    What the first has no room for any more moves to the second, and comes back from there when it is asked for.

    Args:
        device: device of the tensors that it returns.
        max_bytes: bound of what is kept on the device.
        host_bytes: bound of what is kept in the computer's memory; means nothing where that is the device.
    """

    def __init__(self, device: torch.device, max_bytes: int, host_bytes: int) -> None:
        self._device = device
        self._host: LRUCache[Tensor] = LRUCache(host_bytes if device.type != "cpu" else 0, _tensor_bytes)
        self._near: LRUCache[Tensor] = LRUCache(max_bytes, _tensor_bytes, self._move_to_host)

    @property
    def bytes(self) -> tuple[int, int]:
        """What it holds and may hold, on the device and in the computer's memory together."""
        return self._near.bytes + self._host.bytes, self._near.max_bytes + self._host.max_bytes

    def get(self, key: Hashable) -> Tensor | None:
        """Return a tensor on the device and mark it as used, or None."""
        tensor = self._near.get(key)
        if tensor is None:
            tensor = self._host.pop(key)
            if tensor is not None:
                tensor = tensor.to(self._device)
                self._near.put(key, tensor)
        return tensor

    def put(self, key: Hashable, tensor: Tensor) -> None:
        """Keep a tensor of the device. Of a part of a larger one it keeps a copy: the part would hold all of it."""
        if tensor.untyped_storage().nbytes() > tensor.nelement() * tensor.element_size():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        self._near.put(key, tensor)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._near or key in self._host

    def _move_to_host(self, key: Hashable, tensor: Tensor) -> None:
        if self._host.max_bytes:
            self._host.put(key, tensor.cpu())


def _tensor_bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
