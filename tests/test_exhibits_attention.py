"""Exhibits of attention and of characters: each sees what it promises, on another seed too, and draws figures whose sums are right."""

from __future__ import annotations

import pytest

from netwright.core.finding import Finding
from netwright.exhibits import attention_pooling, attention_text, char_cnn, self_attention

SEEDS = pytest.mark.parametrize("seed", [0, 1])


def told(finding: Finding, name: str) -> float:
    value = finding.measured[name]
    assert isinstance(value, int | float)
    return float(value)


@pytest.mark.slow
@SEEDS
def test_attention_pooling_finds_the_element_that_counts_and_a_mean_does_not(seed: int) -> None:
    finding = attention_pooling.exhibit(tiny=True, seed=seed)
    assert finding.verdict == "pass"
    assert told(finding, "rmse_attention") < told(finding, "rmse_mean") / 3
    diagram = finding.figures[0]
    scores = [float(n.note) for n in diagram.nodes if n.label.startswith("score")]
    assert sum(scores) == pytest.approx(1, abs=2e-3)
    assert {link.source for link in diagram.links} | {link.target for link in diagram.links} == {
        n.id for n in diagram.nodes
    }


@pytest.mark.slow
@SEEDS
def test_self_attention_solves_both_tasks_and_looks_where_it_must(seed: int) -> None:
    finding = self_attention.exhibit(tiny=True, seed=seed)
    assert finding.verdict == "pass"
    assert told(finding, "attention_on_mirrored_place") > 0.4 and told(finding, "attention_on_mark") > 0.7
    mirror = finding.figures[0]
    assert len(mirror.frames) == len(mirror.steps) > 3 and mirror.frames[-1] == mirror.series


@pytest.mark.slow
def test_attention_lies_on_the_words_that_tell() -> None:
    finding = attention_text.exhibit(tiny=True)
    assert told(finding, "attention_on_telling_words_attention-pooling") > 0.5  # one or two of eleven words
    assert told(finding, "accuracy_transformer") > told(finding, "accuracy_attention-pooling")


@pytest.mark.slow
def test_the_network_on_characters_has_the_published_numbers_and_is_beaten_by_ngrams_on_few_texts() -> None:
    finding = char_cnn.exhibit(tiny=True)
    assert finding.verdict == "pass" and finding.measured["parameters_large"] == 95_940_612
    assert 0.5 < told(finding, "accuracy_char_cnn") < told(finding, "accuracy_ngrams")
    assert sum(row[2] for row in finding.tables[0].rows) == 11_339_780  # type: ignore[misc]
