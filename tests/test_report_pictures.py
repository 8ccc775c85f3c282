"""Sheets of pictures and coloured texts: shown as they are, never trusted."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from netwright.core.finding import Figure, Finding, Picture, Tokens
from netwright.data.images import to_png
from netwright.report.figures import drawable, to_html
from netwright.report.page import Page, Section, render
from netwright.report.pictures import MAX_PICTURES, MAX_TEXTS


def sources(html: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(d))) for d in re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    ]


def pictures(*shown: Picture) -> str:
    return to_html(Figure(title="t", kind="pictures", pictures=shown), "f")


def tokens(*shown: Tokens) -> str:
    return to_html(Figure(title="t", kind="tokens", texts=shown), "f")


def test_a_picture_is_shown_pixel_by_pixel() -> None:
    pixels = np.arange(48.0).reshape(3, 4, 4) * 5
    (image,) = sources(pictures(Picture(png=to_png(pixels), caption="a digit")))
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1), pixels.astype(np.uint8))


def test_heat_colours_where_it_is_and_leaves_the_rest_grey() -> None:
    heat = np.zeros((4, 4))
    heat[0, 0], heat[3, 3] = 2.0, -2.0
    png = to_png(np.full((1, 8, 8), 128.0))
    (image,) = sources(pictures(Picture(png=png, heat=tuple(map(tuple, heat.tolist())))))
    shown = np.asarray(image).astype(int)
    side = len(shown)
    assert side > 8 and image.mode == "RGB"
    first, last, middle = shown[2, 2], shown[side - 3, side - 3], shown[side // 2, 2]
    assert first[0] > first[2] + 30 and last[2] > last[0] + 30
    assert len(set(middle.tolist())) == 1


@pytest.mark.parametrize(
    "png", ["", "no base64!", base64.b64encode(b"not a picture").decode(), '"><script>alert(1)</script>']
)
def test_what_is_no_png_is_said_and_never_put_into_the_page(png: str) -> None:
    html = pictures(Picture(png=png, caption="broken"))
    assert "no picture" in html and "<img" not in html and "script" not in html


def test_a_picture_that_is_too_large_is_not_decoded() -> None:
    html = pictures(Picture(png=to_png(np.zeros((1, 2, 3000)))))
    assert "no picture" in html


def test_captions_and_pieces_are_escaped() -> None:
    hostile = '"><img src=x onerror=alert(1)>'
    html = pictures(Picture(png=to_png(np.zeros((1, 2, 2))), caption=hostile))
    html += tokens(Tokens(pieces=(hostile,), weights=(1.0,), caption=hostile))
    assert html.count("<img") == 1 and "onerror=alert(1)>" not in html


def test_the_heaviest_piece_has_the_strongest_colour_and_a_piece_without_weight_none() -> None:
    html = tokens(Tokens(pieces=("good ", "film ", "bad"), weights=(1.0, 0.0, -0.5)))
    colours = dict(re.findall(r'<span style="background:rgb\((\d+,\d+,\d+)\)" title="[^"]*">([^<]*)</span>', html))
    by_piece = {piece: [int(c) for c in colour.split(",")] for colour, piece in colours.items()}
    assert "film " not in by_piece and "film " in html
    assert by_piece["good "][0] > by_piece["good "][2] and by_piece["bad"][2] > by_piece["bad"][0]
    assert np.ptp(by_piece["good "]) > np.ptp(by_piece["bad"])


def test_a_mark_is_a_sign_and_not_a_colour_alone() -> None:
    assert "✗" in tokens(Tokens(pieces=("x",), weights=(0.0,), mark="bad"))
    assert "✓" in pictures(Picture(png=to_png(np.zeros((1, 2, 2))), mark="good"))


def test_more_than_can_be_shown_is_cut_and_said() -> None:
    one = Picture(png=to_png(np.zeros((1, 2, 2))))
    many = drawable(Figure(title="t", kind="pictures", pictures=(one,) * (MAX_PICTURES + 5)))
    assert len(many.pictures) == MAX_PICTURES and f"of {MAX_PICTURES + 5} pictures" in many.caption
    texts = drawable(Figure(title="t", kind="tokens", texts=(Tokens(pieces=("x",), weights=(0.0,)),) * (MAX_TEXTS + 1)))
    assert len(texts.texts) == MAX_TEXTS


def test_a_page_of_pictures_alone_carries_no_plotting_script() -> None:
    figure = Figure(title="t", kind="pictures", pictures=(Picture(png=to_png(np.zeros((1, 2, 2)))),))
    finding = Finding(probe="p", family="f", verdict="info", title="x", figures=(figure,))
    html = render(Page(title="t", sections=(Section(id="s", title="s", findings=(finding,)),)))
    assert len(html) < 200_000 and 'class="pictures"' in html
