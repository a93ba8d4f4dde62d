"""Where networks train: the processor, or a CUDA card."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from automl_fuse.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHOICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Device:
    """A place to compute.

    Attributes
    ----------
    name : str
        ``"cpu"`` or ``"cuda"``, as torch understands it.
    bfloat16 : bool
        Whether matrix products of a training are computed in bfloat16.
    """

    name: str
    bfloat16: bool = False

    @staticmethod
    def chosen(choice: str = "auto") -> Device:
        """Return the device of this name; ``"auto"`` is a CUDA card where there is one.

        Raises
        ------
        PluginError
            If the name is unknown, or there is no card.
        """
        if choice not in CHOICES:
            raise PluginError(f"device {choice!r} is unknown: give one of {', '.join(CHOICES)}")
        usable = torch.cuda.is_available()
        if choice == "cuda" and not usable:
            raise PluginError(
                "device 'cuda' is asked for and torch finds no card: install a CUDA build of "
                "torch and a driver, or give device 'auto'"
            )
        if choice == "cpu" or not usable:
            return Device("cpu")
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device("cuda", bfloat16=bool(native))

    @property
    def is_cuda(self) -> bool:
        """Whether this is a card."""
        return self.name == "cuda"

    def tensor(self, array: Any) -> Any:
        """Return a tensor with the values of an array, here."""
        return torch.as_tensor(array).to(self.name)

    def generator(self, seed: int) -> Any:
        """Return a source of random numbers, here."""
        return torch.Generator(device=self.name).manual_seed(seed)

    def mixed(self) -> AbstractContextManager[Any]:
        """Return the context in which a training step computes."""
        if not self.bfloat16:
            return nullcontext()
        context: AbstractContextManager[Any] = torch.autocast(self.name, dtype=torch.bfloat16)
        return context

    def settle(self) -> None:
        """Wait for what was started: a card runs behind, and clocks would not see it."""
        if self.is_cuda:
            torch.cuda.synchronize()

    def release(self) -> None:
        """Give memory back that nothing uses."""
        if self.is_cuda:
            torch.cuda.empty_cache()


@contextmanager
def limited(n_threads: int) -> Iterator[None]:
    """Hold torch to ``n_threads``."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
