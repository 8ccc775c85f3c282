"""A user's own module in the place of a template: it may take our mapping of raw tensors, or one standardised tensor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.spec import FIRST_ID, PAD, UNKNOWN, ImageField, InputSpec, TargetSpec, TextField, VectorField
from netwright.data.batch import Inputs
from netwright.data.fronts import PixelFront
from netwright.data.kinds import kind_of_field
from netwright.recipes.templates import Fronted


class OneTensor(nn.Module):
    """The front of a module that takes one tensor: raw named tensors in, what such a module is used to out.

    An image: standardised pixels (N, C, H, W) float32. A text: the ids of its words (N, n_words) int64, 0 behind the text.
    A table: (N, P) float32, the standardised numbers (0 where a cell is missing), then for each category column a column a
    category, 1 where the row has it. A wrapped tensor: that tensor.

    Args:
        spec: the inputs.

    Raises:
        UsageError: the inputs are several that no one tensor can hold, such as an image and numbers.

    >>> from netwright.core.spec import CategoryField, NumberField
    >>> age, sex = NumberField(name="age", center=40.0, scale=10.0), CategoryField(name="sex", categories=("f", "m"))
    >>> front = OneTensor(InputSpec(fields=(age, sex)))
    >>> front({"numbers": torch.tensor([[50.0]]), "codes": torch.tensor([[2]])})
    tensor([[1., 0., 1.]])
    """

    center: Tensor
    scale: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        whole = [f for f in spec.fields if isinstance(f, ImageField | TextField | VectorField)]
        if len(whole) > 1 or (whole and len(spec.fields) > 1) or spec.wholes:
            kinds = ", ".join(f"{f.name!r} ({f.kind})" for f in spec.fields[:6])
            raise UsageError(f"the inputs {kinds} do not go into one tensor")
        self.field = whole[0] if whole else None
        self.pixels = PixelFront(self.field) if isinstance(self.field, ImageField) else None
        self.register_buffer("center", torch.tensor([f.center for f in spec.numbers], dtype=torch.float64))
        self.register_buffer("scale", torch.tensor([f.scale for f in spec.numbers], dtype=torch.float64))
        self.sizes = [f.n_codes for f in spec.categories]

    def forward(self, x: Inputs) -> Tensor:
        """The tensor."""
        if self.pixels is not None:
            images: Tensor = self.pixels(x)
            return images.contiguous()  # row by row: a module of one's own may use view
        if isinstance(self.field, TextField):
            return x[self.field.tensors[0]].long()
        if self.field is not None:
            return x[self.field.name]
        parts: list[Tensor] = []
        if len(self.center):
            parts.append(((x["numbers"] - self.center) / self.scale).nan_to_num(nan=0.0).clamp(-1e6, 1e6).float())
        parts += [F.one_hot(x["codes"][:, i], n)[:, 1:].float() for i, n in enumerate(self.sizes)]
        return torch.cat(parts, 1)

    @property
    def what(self) -> str:
        """What it gives, in words."""
        if self.field is None:
            return "the standardised numbers and a column a category"
        return {"image": "standardised pixels", "text": "ids of words"}.get(self.field.kind, "the tensor as it is")


def as_template(module: nn.Module, spec: InputSpec, target: TargetSpec, n_out: int) -> nn.Module:
    """A user's module that can be trained on these inputs: as it is where it takes the mapping, else behind `OneTensor`.

    Both ways are tried on two made-up rows, without gradient and in evaluation mode.

    Args:
        module: of the user. spec: the inputs. target: what is predicted. n_out: outputs that the loss needs.

    Raises:
        UsageError: neither way gives (2, n_out) outputs; both reasons are told.
    """
    rows = two_rows(spec)
    shown = ", ".join(f"{name!r}: {_shape(tensor)}" for name, tensor in rows.items())
    reasons = [f"with the mapping {{{shown}}}: {_fault(module, rows, n_out)}"]
    if reasons[0].endswith(_FINE):
        return module
    try:
        front = OneTensor(spec)
    except UsageError as error:
        reasons.append(f"with one tensor: {error}")
    else:
        adapted = Fronted(front, module)
        reasons.append(f"with one tensor {_shape(front(rows))}, {front.what}: {_fault(adapted, rows, n_out)}")
        if reasons[1].endswith(_FINE):
            return adapted
    needed = f"{n_out} outputs a row" + ("" if target.is_number else f", one for each class of {target.name!r}")
    raise UsageError(
        f"the {type(module).__name__} of the template cannot be called: {'; '.join(reasons)}. "
        f"Let its forward take one of the two, and return a tensor with {needed}"
    )


_FINE = "fine"


def _fault(module: nn.Module, rows: Inputs, n_out: int) -> str:
    """Why a module does not give (2, n_out) outputs for two rows; "fine" if it does."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            outputs = module(rows)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        module.train(was_training)
    if not isinstance(outputs, Tensor):
        return f"it returned a {type(outputs).__name__}, not a tensor"
    if outputs.shape == (2, n_out) or (n_out == 1 and outputs.shape == (2,)):
        return _FINE
    return f"it returned the shape {tuple(outputs.shape)}, expected (2, {n_out})"


def _shape(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def two_rows(spec: InputSpec) -> Inputs:
    """Two rows that these inputs could hold, as named tensors.

    >>> two_rows(InputSpec(kind="image", fields=(ImageField(height=2, width=2),)))["image"].amax((1, 2, 3)).tolist()
    [0, 255]
    """
    rows: dict[str, Tensor] = {}
    if spec.numbers:
        cells = [[f.center for f in spec.numbers], [f.center + f.scale for f in spec.numbers]]
        rows["numbers"] = torch.tensor(cells, dtype=torch.float64)
    if spec.categories:
        rows["codes"] = torch.tensor([[0] * len(spec.categories), [f.n_codes - 1 for f in spec.categories]])
    for f in spec.fields:
        if isinstance(f, ImageField):
            bounds = torch.tensor([f.low, f.high]).view(2, 1, 1, 1).expand(2, *f.shape).contiguous()
            rows[f.name] = bounds.to(torch.uint8 if f.dtype == "uint8" else torch.float32)
        elif isinstance(f, TextField):
            lengths = zip(f.tensors, (f.n_words, f.n_chars), (len(f.words), len(f.chars)), strict=True)
            rows |= {name: _two_texts(length, n) for name, length, n in lengths}
        elif isinstance(f, VectorField):
            is_whole, low = f.dtype == "int", int(f.low or 0)
            rows[f.name] = torch.full((2, *f.shape), low, dtype=torch.int64) if is_whole else torch.zeros(2, *f.shape)
    for whole in spec.wholes:
        rows |= {name: torch.from_numpy(array) for name, array in kind_of_field(whole).two_rows(whole).items()}
    return rows


def _two_texts(length: int, n_tokens: int) -> Tensor:
    """A text of all positions, and one of a single token."""
    ids = torch.full((2, length), UNKNOWN, dtype=torch.int32)
    ids[0, 0] = FIRST_ID + n_tokens - 1
    ids[1, 1:] = PAD
    return ids
