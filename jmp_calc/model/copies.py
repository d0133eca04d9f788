"""Copies of a network: with other heads, under another graph policy, or alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from .config import DefaultHeads, HeadConfig, ModelConfig
from .heads import Head
from .shapes import shapes_only


class Copied(nn.Module):
    """A network that is nothing but its configuration and its state dict, so that both make another one."""

    config: ModelConfig

    @classmethod
    def from_state(cls, config: ModelConfig, state: dict[str, Tensor]) -> Self:
        """A network that owns the tensors of ``state``, of any shape: no random start, no second copy of the
        weights."""
        with shapes_only():
            network = cls(config)
        network.load_state_dict(state, assign=True)
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        return network

    def with_new_head(self, head: HeadConfig, kept: Sequence[str], init_from: str | None = None) -> Self:
        """A copy with a new head, which is its default, beside the ``kept`` ones.

        The new head has new weights or those of an old one of the same shape, ``init_from``; that one may
        have its name, or go.
        """
        state = self._cloned_state()
        own = self._fresh_head(head) if init_from is None else _of_head(state, init_from)
        state = _without_heads(state, [other.name for other in self.config.heads if other.name not in kept])
        state |= {f"heads.{head.name}.{name}": value.clone() for name, value in own.items()}
        return self.from_state(self.config.with_new_head(head, kept), state)

    def with_heads(self, names: Sequence[str], default: str | DefaultHeads | None) -> Self:
        """A copy that has only the named heads, with one default or one for each kind of structure."""
        dropped = [head.name for head in self.config.heads if head.name not in names]
        config = self.config.with_heads(map(self.config.head, names), default)
        return self.from_state(config, _without_heads(self._cloned_state(), dropped))

    def with_config(self, config: ModelConfig) -> Self:
        """A copy with the same weights under another graph policy or other head descriptions."""
        return self.from_state(config, self._cloned_state())

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        duplicate = self.from_state(self.config, self._cloned_state())
        for mine, theirs in zip(self.parameters(), duplicate.parameters()):
            theirs.requires_grad_(mine.requires_grad)
        return duplicate.train(self.training)

    def _cloned_state(self) -> dict[str, Tensor]:
        """The state dict with tensors of its own, of any shape."""
        return {name: value.detach().clone() for name, value in self.state_dict().items()}

    def _fresh_head(self, head: HeadConfig) -> dict[str, Tensor]:
        """State dict of a new head, with tensors of any shape."""
        backbone, like = self.config.backbone, next(self.parameters())
        return Head(head, backbone.emb_size_atom, backbone.emb_size_edge).to(like).state_dict()


def _of_head(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The state (tensors of any shape) of one head, by the names that it has in the head."""
    prefix = f"heads.{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _without_heads(state: dict[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """The state (tensors of any shape) but for that of some heads."""
    dropped = tuple(f"heads.{name}." for name in names)
    return {key: value for key, value in state.items() if not key.startswith(dropped)}
