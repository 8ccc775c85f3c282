"""Checkpoints: one safetensors file each, whole or not there, no pickle. Numbers and history ride in its header as JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from netwright.core.errors import DataError
from netwright.core.files import writing
from netwright.train.light import without_compiler
from netwright.train.stack import Member, Stack
from netwright.train.state import History, State


def save_tensors(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write named tensors and JSON values as one file."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with writing(path) as temporary:
        temporary.write_bytes(save(whole, metadata={"netwright": json.dumps(values)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote.

    Raises:
        DataError: the file is damaged, or not ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["netwright"])
            return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged or not ours ({error}); restore it from a copy, or train again") from error


def save_checkpoint(path: Path, state: State) -> None:
    """Store all of a training's state."""
    tensors, values = taken(state)
    identity = {"seed": state.seed, "steps_per_epoch": state.steps_per_epoch, "settings": state.settings.model_dump()}
    save_tensors(path, tensors, {**identity, "members": digests(state.net), **values})


def digests(net: nn.Module) -> list[str]:
    """What the seed, settings and rows of each member of a stack come down to; nothing of a network alone."""
    return [_digest(member) for member in net.members] if isinstance(net, Stack) else []


def _digest(member: Member) -> str:
    rows = b"all" if member.rows is None else member.rows.cpu().numpy().tobytes()
    whole = f"{member.seed} {member.settings.model_dump_json()} ".encode() + rows
    return hashlib.blake2b(whole, digest_size=16).hexdigest()


def taken(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a training changes: tensors by name, not copied, and JSON values."""
    tensors = {f"net/{k}": v for k, v in state.net.state_dict().items()}
    tensors |= {f"hook/{k}": v for k, v in state.tensors.items()}
    for player, optimizer in state.optimizers.items():
        for index, parameter in enumerate(_learned(optimizer)):
            slots = optimizer.state.get(parameter, {})
            tensors |= {f"optimizer/{player}/{index}/{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
    values = {
        "step": state.step,
        "epoch": state.epoch,
        "stop": state.stop,
        "history": state.history.rows,
        "values": state.values,
    }
    return tensors, values


def _learned(optimizer: Optimizer) -> list[Tensor]:
    """The parameters of an optimiser in the order in which its state is numbered."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def load_checkpoint(path: Path, state: State) -> None:
    """Bring a fresh state to where a checkpoint stood; where it is refused the network stays as it is.

    Raises:
        DataError: the file is damaged, or belongs to another training.
    """
    tensors, values = load_tensors(path)
    present = (json.loads(state.settings.model_dump_json()), state.seed, state.steps_per_epoch)
    if (values.get("settings"), values.get("seed"), values.get("steps_per_epoch")) != present:
        raise DataError(
            f"{path} belongs to a training with other settings, another seed or other rows; remove it to start this training afresh"
        )
    theirs, ours = values.get("members", []), digests(state.net)
    if theirs != ours:
        other = next(
            (k for k, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours))
        )
        raise DataError(
            f"{path} belongs to a stack of {len(theirs)} networks, this one has {len(ours)}, and number {other} of them has another "
            "seed, other settings or other rows; remove it to start this training afresh"
        )
    before = {name: tensor.clone() for name, tensor in state.net.state_dict().items()}
    try:
        restore(state, tensors, values)
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        state.net.load_state_dict(before)
        raise DataError(
            f"{path} does not fit this network ({error}); remove it to start this training afresh"
        ) from error


def laid_out(tensor: Tensor, like: Tensor | None) -> Tensor:
    """The same values in the memory layout of `like`, where shapes agree: a file holds rows first, but fused optimisers walk
    through a weight and what they remember of it in the order of memory, and images are fastest with channels last."""
    if like is None or tensor.shape != like.shape:
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def restore(state: State, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Bring a state to where another stood when it was `taken`; the tensors may become its own."""
    parts: dict[str, dict[str, Tensor]] = {"net": {}, "hook": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    state.net.load_state_dict(parts["net"])
    own = {**dict(state.net.named_buffers()), **dict(state.net.named_parameters())}
    state.tensors = {name: laid_out(tensor, own.get(name.partition("/")[2])) for name, tensor in parts["hook"].items()}
    for player, optimizer in state.optimizers.items():
        learned = _learned(optimizer)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            owner, index, slot = name.rsplit("/", 2)
            if owner == player:
                slots.setdefault(int(index), {})[slot] = laid_out(tensor, learned[int(index)])
        with without_compiler(Optimizer.state_dict, Optimizer.load_state_dict):
            optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    state.step, state.epoch, state.stop = values["step"], values["epoch"], values["stop"]
    state.history, state.values = History(values["history"]), values["values"]
