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
from netwright.report.figures import describe, drawable, to_html
from netwright.report.page import Page, Section, render
from netwright.report.pictures import MAX_PICTURES, MAX_PIECES, MAX_TEXTS


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


SPAN = r'<span style="background:rgb\((\d+,\d+,\d+)\)"( class="dotted")? title="[^"]*">([^<]*)</span>'


def test_the_heaviest_piece_has_the_strongest_colour_and_a_piece_without_weight_none() -> None:
    html = tokens(Tokens(pieces=("good ", "film ", "bad"), weights=(1.0, 0.0, -0.5)))
    by_word = {word: [int(c) for c in colour.split(",")] for colour, _, word in re.findall(SPAN, html)}
    assert set(by_word) == {"good", "bad"} and "</span> film <span" in html
    assert by_word["good"][0] > by_word["good"][2] and by_word["bad"][2] > by_word["bad"][0]
    assert np.ptp(by_word["good"]) > np.ptp(by_word["bad"])


def test_what_speaks_against_the_answer_is_told_by_a_line_too() -> None:
    html = tokens(Tokens(pieces=("good ", "bad"), weights=(1.0, -1.0)))
    assert {word: bool(dotted) for _, dotted, word in re.findall(SPAN, html)} == {"good": False, "bad": True}
    assert 'class="dotted">against<' in html


@pytest.mark.parametrize("weights", [(float("nan"), 1.0), (float("inf"), 1.0), (0.0, 0.0), (1.0,)])
def test_weights_that_are_no_numbers_or_too_few_colour_nothing_they_should_not(weights: tuple[float, ...]) -> None:
    html = tokens(Tokens(pieces=("a ", "b"), weights=weights))
    assert "nan" not in html and "inf" not in html
    assert "a " in re.sub(r"<[^>]*>", "", html) and "b" in re.sub(r"<[^>]*>", "", html)


def test_white_space_and_the_direction_of_writing_are_kept() -> None:
    html = tokens(Tokens(pieces=("  two\n", "\tשלום ", "\u202eevil"), weights=(1.0, -1.0, 0.5)))
    assert 'dir="auto"' in html and "\u202e" not in html
    assert re.sub(r"<[^>]*>", "", html).startswith("  two\n\tשלום \\u202eevil")


def test_a_sheet_says_in_words_what_it_shows() -> None:
    one = Picture(png=to_png(np.zeros((1, 2, 2))), caption='a "four"', mark="bad")
    figure = Figure(title="Worst errors", kind="pictures", pictures=(one, one))
    assert describe(figure) == "Worst errors. 2 pictures, 2 of them wrong."
    assert f'aria-label="{describe(figure)}"' in to_html(figure, "f")
    assert to_html(figure, "f").count('alt="a &quot;four&quot;"') == 2


@pytest.mark.parametrize("heat", [((float("nan"), 1.0),), ((0.0, 0.0),), ((float("inf"),),), ((1e-300, -1e300),)])
def test_any_heat_can_be_drawn(heat: tuple[tuple[float, ...], ...]) -> None:
    (image,) = sources(pictures(Picture(png=to_png(np.full((3, 4, 4), 200.0)), heat=heat)))
    assert image.mode == "RGB"


def test_one_extreme_value_does_not_hide_the_rest() -> None:
    heat = np.zeros((28, 28))
    heat[20, 20], heat[4:8, 4:8] = 100.0, 1.0
    (image,) = sources(pictures(Picture(png=to_png(np.zeros((1, 28, 28))), heat=tuple(map(tuple, heat.tolist())))))
    patch = np.asarray(image).astype(int)[22:26, 22:26].reshape(-1, 3).mean(0)
    assert patch[0] > patch[2] + 100


def test_a_mark_is_a_sign_and_not_a_colour_alone() -> None:
    assert "✗" in tokens(Tokens(pieces=("x",), weights=(0.0,), mark="bad"))
    assert "✓" in pictures(Picture(png=to_png(np.zeros((1, 2, 2))), mark="good"))


def test_more_than_can_be_shown_is_cut_and_said() -> None:
    one = Picture(png=to_png(np.zeros((1, 2, 2))))
    many = drawable(Figure(title="t", kind="pictures", pictures=(one,) * (MAX_PICTURES + 5)))
    assert len(many.pictures) == MAX_PICTURES and f"of {MAX_PICTURES + 5} pictures" in many.caption
    texts = drawable(Figure(title="t", kind="tokens", texts=(Tokens(pieces=("x",), weights=(0.0,)),) * (MAX_TEXTS + 1)))
    assert len(texts.texts) == MAX_TEXTS
    long = tokens(Tokens(pieces=("x ",) * (MAX_PIECES + 5), weights=(1.0,) * (MAX_PIECES + 5)))
    assert len(re.findall(SPAN, long)) == MAX_PIECES and "…" in long


def test_a_page_of_pictures_alone_carries_no_plotting_script() -> None:
    figure = Figure(title="t", kind="pictures", pictures=(Picture(png=to_png(np.zeros((1, 2, 2)))),))
    finding = Finding(probe="p", family="f", verdict="info", title="x", figures=(figure,))
    html = render(Page(title="t", sections=(Section(id="s", title="s", findings=(finding,)),)))
    assert len(html) < 200_000 and 'class="pictures"' in html
