"""Sheets of pictures and lists of coloured texts as plain HTML: no script draws them, and nothing in them is trusted."""

from __future__ import annotations

import base64
import binascii
import html
import io
import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice, pairwise, zip_longest
from typing import TYPE_CHECKING

from netwright.core.finding import Figure, Picture, Tokens
from netwright.report.look import DIVERGING
from netwright.report.text import visible

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PICTURES, MAX_TEXTS, MAX_PIECES = 300, 30, 400
"""How many are shown; a caption says what is left out."""
MAX_SIDE = 1024
"""Largest side of a picture that is shown, in its own pixels."""
SIDE = 112
"""A smaller picture under a heat map is enlarged to about this side, so that a coarse map lies smoothly on it."""
FOR, AGAINST = (245, 130, 30), (40, 140, 250)
"""Colours over a grey picture, bright enough for its dark parts and strong enough for its light ones."""
LEAST = 0.05
"""Share of the largest weight of a text from which a word is coloured."""
MARKS = {"good": ("✓", "right"), "bad": ("✗", "wrong"), "": ("", "")}


def sheet(figure: Figure, id: str) -> str:
    """The figure as HTML: a grid of pictures, or texts one below the other, whose colours stand for weights.

    >>> sheet(Figure(title="t", kind="tokens", texts=(Tokens(pieces=("<b>",), weights=(1.0,)),)), "f").count("<b>")
    0
    """
    shown = [_picture(p) for p in figure.pictures] if figure.kind == "pictures" else [_text(t) for t in figure.texts]
    if not shown:
        return f'<p class="small" id="{html.escape(id)}">There was nothing to draw.</p>'
    key = _key(figure) if _weights(figure) else ""
    words = html.escape(in_words(figure))
    return f'<ul class="{figure.kind}" id="{html.escape(id)}" aria-label="{words}">{"".join(shown)}</ul>{key}'


def in_words(figure: Figure) -> str:
    """What a sheet shows, for those who cannot see it.

    >>> in_words(Figure(title="Errors", kind="pictures", pictures=(Picture(png="", mark="bad"),)))
    'Errors. 1 picture, 1 of them wrong.'
    """
    items: Sequence[Picture | Tokens] = figure.pictures if figure.kind == "pictures" else figure.texts
    n, wrong = len(items), sum(item.mark == "bad" for item in items)
    what = ("picture" if figure.kind == "pictures" else "text") + "s" * (n != 1)
    return f"{visible(figure.title).rstrip('.')}. {n} {what}{f', {wrong} of them wrong' if wrong else ''}."


def shortened(figure: Figure) -> tuple[Figure, str]:
    """The figure with no more than can be shown, and a sentence on what is left out."""
    n, most, what = len(figure.pictures), MAX_PICTURES, "pictures"
    if figure.kind == "tokens":
        n, most, what = len(figure.texts), MAX_TEXTS, "texts"
    note = f"{most} of {n:,} {what} are shown." if n > most else ""
    kept = {"pictures": figure.pictures[:MAX_PICTURES], "texts": figure.texts[:MAX_TEXTS]}
    return figure.model_copy(update=kept), note


def _weights(figure: Figure) -> bool:
    """Whether colours stand for sizes in it: words that are only marked all weigh 1."""
    weights = {weight for text in figure.texts for weight in text.weights}
    return any(p.heat for p in figure.pictures) or not weights <= {0.0, 1.0}


def _key(figure: Figure) -> str:
    if figure.kind == "tokens" and not any(weight < 0 for text in figure.texts for weight in text.weights):
        return f'<p class="small key">{_span("much", _shade(1.0))}; the stronger the colour, the more, each text by itself</p>'
    if figure.kind == "tokens":
        low, high, each = _span("against", _shade(-1.0), dotted=True), _span("for", _shade(1.0)), "each text by itself"
    else:
        low, high, each = _span("against", AGAINST), _span("for", FOR), "each picture by itself"
    return f'<p class="small key">{low} {high} the answer; the stronger the colour, the more, {each}</p>'


def _span(words: str, colour: tuple[int, int, int], *, title: str = "", dotted: bool = False) -> str:
    """Words on a colour; `dotted` draws a line under them, a sign beside the colour for paper without colours."""
    more = ' class="dotted"' * dotted + (f' title="{title}"' if title else "")
    return f'<span style="background:rgb({",".join(map(str, colour))})"{more}>{words}</span>'


def _mark(mark: str) -> str:
    sign, words = MARKS[mark]
    return f'<b class="{mark}" title="{words}">{sign}</b> ' if sign else ""


def _picture(picture: Picture) -> str:
    caption = html.escape(visible(picture.caption))
    image = _opened(picture.png)
    if image is None:
        return f'<li><span class="missing">no picture</span><p>{_mark(picture.mark)}{caption}</p></li>'
    data = _overlaid(image, picture.heat) if picture.heat else _bytes(image)
    words = caption or "picture"
    return (
        f'<li><img src="data:image/png;base64,{data}" alt="{words}" width="{image.width}" height="{image.height}">'
        f"<p>{_mark(picture.mark)}{caption}</p></li>"
    )


def _opened(png: str) -> Image | None:
    """A picture that is one, of a size that may be shown; None else. It is written anew, so nothing foreign reaches the page."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(base64.b64decode(png, validate=True)), formats=("PNG",))
        if max(image.size) > MAX_SIDE:
            return None
        return image.convert("RGB" if image.mode not in ("L", "1") else "L")
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _bytes(image: Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _overlaid(image: Image, heat: Sequence[Sequence[float]]) -> str:
    """The picture in dim grey and enlarged, under the heat: blue against, orange for, the more of it the less of the picture."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.array([list(row) for row in heat], dtype=np.float64))
    sizes = np.abs(values)
    # one pixel must not dim all others
    full = float(np.quantile(sizes, 0.995)) or float(sizes.max()) if values.size else 0.0
    enlarge = max(1, round(SIDE / max(image.size)))
    size = (image.width * enlarge, image.height * enlarge)
    pixels = np.asarray(image.convert("L").resize(size, Image.Resampling.NEAREST), dtype=np.float64)
    grey = 40 + 0.6 * pixels[:, :, None]
    if not full:
        return _bytes(Image.fromarray(np.repeat(np.rint(grey), 3, 2).astype(np.uint8)))
    scaled = Image.fromarray(np.clip(values / full, -1, 1).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    strength = np.asarray(scaled, dtype=np.float64)[:, :, None]
    alpha = 0.9 * np.abs(strength) ** 0.7
    mixed = (1 - alpha) * grey + alpha * np.where(strength > 0, FOR, AGAINST)
    return _bytes(Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8)))


@lru_cache(maxsize=512)
def _rgb(weight: float) -> tuple[int, int, int]:
    """The diverging colour of a weight in [-1, 1].

    >>> _rgb(0.0)
    (247, 247, 247)
    """
    at = (min(max(weight, -1.0), 1.0) + 1) / 2
    for (a, low), (b, high) in pairwise(DIVERGING):
        if at <= b:
            share = (at - a) / (b - a)
            ends = [[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in (low, high)]
            r, g, blue = (round(x + share * (y - x)) for x, y in zip(*ends, strict=True))
            return r, g, blue
    return _rgb(1.0)


def _shade(share: float) -> tuple[int, int, int]:
    """The colour behind a word; the ends of the scale are too dark to read ink on."""
    return _rgb(0.65 * share)


def _text(text: Tokens) -> str:
    weights = [w if math.isfinite(w) else 0.0 for w in text.weights]
    largest = max(map(abs, weights), default=0.0) or 1.0
    given = islice(zip_longest(text.pieces, weights[: len(text.pieces)], fillvalue=0.0), MAX_PIECES)
    pieces = [_piece(str(piece), float(weight), float(weight) / largest) for piece, weight in given]
    more = " …" if len(text.pieces) > MAX_PIECES else ""
    caption = f"<p>{_mark(text.mark)}{html.escape(visible(text.caption))}</p>" if text.caption or text.mark else ""
    return f'<li>{caption}<div dir="auto">{"".join(pieces)}{more}</div></li>'


def _piece(piece: str, weight: float, share: float) -> str:
    """A piece of a text, its word coloured and the white space around it left plain."""
    word = piece.strip()
    before, _, behind = piece.partition(word) if word else (piece, "", "")
    words = html.escape(visible(word))
    if word and abs(share) >= LEAST:
        words = _span(words, _shade(share), title=f"{weight:.3g}", dotted=share < 0)
    return f"{html.escape(visible(before))}{words}{html.escape(visible(behind))}"
