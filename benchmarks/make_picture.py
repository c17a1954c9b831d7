"""Writes docs/images/sembridge.svg, the README's picture, with numbers computed on the bundled models.

python benchmarks/make_picture.py
"""

from dataclasses import dataclass
from pathlib import Path

from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
from sembridge.experiments.charts import Box, Drawing
from sembridge.language_transfer.explanation import Dimension, Explainer, TokenExplanation

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "sembridge.svg"
WORDS = ("학교", "수업", "시작")
TEXT, ENGLISH_TEXT = "학교는 아홉 시에 시작해요.", "School starts at nine."
N_TERMS = 5
ROW_HEIGHT = 36.0
SHADES = (0.9, 0.35, 0.65, 0.2, 0.8, 0.5)  # of the cells of a row, which stand for any numbers


@dataclass(frozen=True)
class Facts:
    """What the picture shows."""

    n_source: int
    n_target: int
    tokens: list[TokenExplanation]
    terms: list[Dimension]


def compute() -> Facts:
    """The rows of a few Korean words, and the strongest terms of a Korean text, after a transfer without training."""
    moved = transfer(load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"), load_bridge("mini/bridge"))
    explainer = Explainer(moved.encoder, moved.alignment)
    tokens = [explainer.token(explainer.token_ids(word)[0]) for word in WORDS]
    return Facts(moved.report.n_source, moved.report.n_target, tokens, explainer.text(TEXT, top=N_TERMS))


def draw(facts: Facts) -> str:
    """The picture as SVG."""
    drawing = Drawing(900, 362)
    _draw_head(drawing, 28, "1 · English SPLADE", f"{facts.n_source:,} rows, one a token")
    _draw_head(drawing, 318, "2 · target tokenizer", f"{facts.n_target:,} new rows")
    _draw_head(drawing, 520, "3 · a stock SparseEncoder", "that fires on Korean, without training")
    y = 104.0
    for token in facts.tokens:
        _draw_token(drawing, token, y)
        y += ROW_HEIGHT * len(token.parts)
    drawing.text(246, y + 10, "bridge: nearest in meaning,", kind="muted small", anchor="middle")
    drawing.text(246, y + 25, "weighted by entmax", kind="muted small", anchor="middle")
    drawing.path([(466, 186), (496, 186)], 6, width=2)
    drawing.path([(488, 179), (496, 186), (488, 193)], 6, width=2)
    _draw_terms(drawing, facts.terms)
    return drawing.svg(
        "What SemBridge does",
        "English tokens, weighted, make the rows of Korean tokens; the resulting encoder gives a Korean text weights: "
        + ", ".join(f"{term.token.text} {term.value:.2f}" for term in facts.terms),
    )


def _draw_head(drawing: Drawing, x: float, title: str, about: str) -> None:
    drawing.text(x, 38, title, kind="title")
    drawing.text(x, 57, about, kind="muted")


def _draw_token(drawing: Drawing, token: TokenExplanation, y: float) -> None:
    """A target token at the right of its source tokens, joined by lines as wide as the weights."""
    middle = y + ROW_HEIGHT * (len(token.parts) - 1) / 2
    for place, part in enumerate(token.parts):
        at = y + place * ROW_HEIGHT
        drawing.text(104, at + 4, part.token, anchor="end")
        _draw_row(drawing, 112, at, 0)
        drawing.path([(180, at), (312, middle)], 0, width=1 + 6 * part.weight, opacity=0.45)
        drawing.text(200, at + 4 + (middle - at) * 0.2, f"{part.weight:.2f}", kind="strong small halo")
    _draw_row(drawing, 318, middle, 2)
    drawing.text(388, middle + 5, token.text, kind="title")


def _draw_row(drawing: Drawing, x: float, y: float, colour: int) -> None:
    for place, shade in enumerate(SHADES):
        left = x + 10.5 * place
        drawing.rectangle(Box(left, y - 7, left + 9, y + 7), f"f{colour}", opacity=shade)


def _draw_terms(drawing: Drawing, terms: list[Dimension]) -> None:
    drawing.text(520, 92, f"“{TEXT}”", kind="strong")
    drawing.text(520, 109, ENGLISH_TEXT, kind="muted small")
    for place, term in enumerate(terms):
        y = 142 + place * 32
        width = 110 * term.value / terms[0].value
        drawing.text(584, y + 4, term.token.text, anchor="end")
        drawing.rectangle(Box(592, y - 8, 592 + width, y + 8), "f2", opacity=0.85)
        drawing.text(598 + width, y + 4, f"{term.value:.2f}", kind="small")
        parts = term.token.parts
        made_of = "an English token, kept" if len(parts) == 1 else ", ".join(part.token for part in parts[:2])
        drawing.text(744, y + 4, made_of, kind="muted small")


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(compute()), encoding="utf-8")
    print(PICTURE)
