"""Laws of the report: it says what the folders say, refuses what it cannot read, and nothing in it breaks the page."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_results
from commands import sembridge
from test_cli_evaluate import write_data
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import TinyBridge

from sembridge.encoders.loading import load_encoder
from sembridge.errors import SembridgeError
from sembridge.experiments.report.explorer import TokenColumns, pack_explorer
from sembridge.experiments.report.folders import read_folders
from sembridge.experiments.report.standings import headlines
from sembridge.experiments.report.transfers import read_alignment
from sembridge.experiments.report.writing import ReportSettings, render_report, write_report
from sembridge.experiments.results import mean_of, read_results
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.folder import LanguageTransfer, Origin
from sembridge.retrieval.comparison import EvaluationSettings, compare_systems
from sembridge.retrieval.evaluation import evaluate, evaluate_bm25
from sembridge.retrieval.sources import load_retrieval_data

HOSTILE = "</script><img src=x onerror=alert(1)><b title='"
VOID = {"meta", "link", "br", "img", "input", "hr", "rect", "line", "polyline", "polygon", "circle", "path"}
QUIET = ReportSettings(examples=False, measure=False)


class Page(HTMLParser):
    """A parsed page: elements with attributes, ids, texts of scripts; every element must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> without a beginning"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def data(self) -> dict[str, Any]:
        """Of the explorer."""
        (text,) = [script for script in self.scripts if script.lstrip().startswith("{")]
        found: dict[str, Any] = json.loads(text)
        return found


def unpacked(data: dict[str, Any], place: int) -> list[dict[str, Any]]:
    """The tokens of a packed transfer, read as page.js reads them."""

    def inflate(text: str) -> bytes:
        return zlib.decompress(base64.b64decode(text))

    of, sources = data["transfers"][place], json.loads(inflate(data["sources"]))
    columns, n, n_parts = inflate(of["columns"]), of["n"], of["n_parts"]
    assert len(columns) == 5 * n + 4 * n_parts
    kinds, scripts, goes_on, support, similarity = (columns[i * n : (i + 1) * n] for i in range(5))
    weight, low, middle, high = (columns[5 * n + i * n_parts :][:n_parts] for i in range(4))
    tokens, at = [], 0
    for i, text in enumerate(json.loads(inflate(of["texts"]))):
        places = range(at, at := at + min(support[i], data["max_parts"]))
        parts = [(sources[low[p] + 256 * middle[p] + 65536 * high[p]], weight[p] / 100) for p in places]
        its_similarity = None if similarity[i] == 255 else similarity[i] / 100
        tokens.append(
            {"text": text, "kind": of["kinds"][kinds[i]], "script": of["scripts"][scripts[i]], "support": support[i],
             "goes_on": bool(goes_on[i]), "similarity": its_similarity, "parts": parts}
        )  # fmt: skip
    assert at == n_parts
    return tokens


@pytest.fixture(scope="module")
def made() -> LanguageTransfer:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    origin = Origin("tiny-en", "tiny-ko", "tiny-bridge", "ko", "cc-by-nc-4.0")
    return transfer(source, tiny_tokenizer("wordpiece", language="target"), TinyBridge(), origin=origin)


@pytest.fixture(scope="module")
def folder(made: LanguageTransfer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transfer's."""
    return made.save(tmp_path_factory.mktemp("transfers") / "ko")


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a training writes beside the files of its transfer."""
    copy = tmp_path_factory.mktemp("trainings") / "ko-trained"
    copy.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    curve = [{"step": step, "loss": 2 / (step + 1), "nDCG@10": step / 100, "flops": 1.0} for step in range(0, 60, 2)]
    (copy / "curve.jsonl").write_text("".join(json.dumps(point) + "\n" for point in curve))
    facts = {"data": "pairs/ko", "pairs": 640, "steps": 58, "dev": "dev/ko", "versions": {"torch": "2"}}
    (copy / "training.json").write_text(json.dumps(facts))
    return copy


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_results.realistic(tmp_path_factory.mktemp("grids") / "grid")


@pytest.fixture(scope="module")
def grid_page(grid: Path) -> str:
    return render_report([grid])


def test_the_page_says_what_the_transfer_counted(made: LanguageTransfer, folder: Path) -> None:
    page = Page(render_report([folder], settings=QUIET))
    for kind, count in made.report.counts.items():
        if count:
            assert f"{count:,} {100 * count / made.report.n_target:.1f} %" in page.text, kind
    assert made.report.confidence
    for figure in (made.report.similarity, made.report.confidence):
        assert " ".join(f"{value:.2f}" for value in figure.values()) in page.text
    assert f"Gain {made.report.gain:.2f}" in page.text
    for token in made.report.least_certain[:5]:
        assert f"{token.token} {token.similarity:.3f}".replace(" 0.", " .") in page.text
    assert "NON-COMMERCIAL licence (cc-by-nc-4.0), carried over from tiny-en" in page.text


def test_lowered_biases_are_said_and_what_an_older_report_lacks_is_not(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "ko")
    report = json.loads((folder / "report.json").read_text())
    (tmp_path / "ko" / "report.json").write_text(json.dumps(report | {"n_lowered": 12}))
    assert "12 lowered biases: their dimensions fired" in Page(render_report([tmp_path / "ko"], settings=QUIET)).text
    for name in ("confidence", "gain", "n_lowered"):
        del report[name]
    (tmp_path / "ko" / "report.json").write_text(json.dumps(report))
    page = Page(render_report([tmp_path / "ko"], settings=QUIET)).text
    assert [word for word in ("How sure", "Gain", "lowered bias") if word in page] == []


def test_the_explorer_holds_the_alignment(made: LanguageTransfer, folder: Path) -> None:
    tokens = unpacked(Page(render_report([folder], settings=QUIET)).data(), 0)
    alignment = Alignment.load(folder)
    assert len(tokens) == made.report.n_target
    assert Counter(token["kind"] for token in tokens) == {k: n for k, n in made.report.counts.items() if n}
    for token_id, token in enumerate(tokens):
        parts = alignment.parts(token_id)
        assert token["support"] == len(parts)
        assert token["parts"] == [(part.token, round(part.weight, 2)) for part in parts[:3]]
        cosines = [part.similarity for part in parts if part.similarity is not None]
        assert token["similarity"] == (pytest.approx(max(0, *cosines, 0), abs=0.0051) if cosines else None)
    (school,) = [token for token in tokens if token["text"] == "학교"]
    assert (school["parts"][0][0], school["script"], school["goes_on"]) == ("school", "hangul", False)
    assert any(token["goes_on"] for token in tokens)


def test_a_fine_tuned_encoder_of_the_same_transfer_adds_no_second_alignment(folder: Path, trained: Path) -> None:
    page = Page(render_report([trained, folder], settings=QUIET))
    assert [of["name"] for of in page.data()["transfers"]] == ["ko"]
    assert "what a fine-tuned encoder's rows were before it" in page.text


def test_curves_of_trainings_are_drawn_with_their_best_step(trained: Path) -> None:
    page = Page(render_report([trained], settings=QUIET))
    assert "ko-trained sembridge-default pairs/ko 640 58 .034 .000 .580 58" in page.text
    assert len(page.named("polyline")) >= 2  # loss and dev


def test_headline_numbers_are_the_means_of_the_tables(grid: Path) -> None:
    results = read_results(grid)
    (first, _) = headlines(results, {})
    groups = [["klue/ko", "korquad/ko"], ["xquad/ru"]]
    for column, mean in zip(first.columns, first.averages, strict=True):
        rows = [row for row in results.table_rows(column.stage) if row.system == column.system]
        assert mean == mean_of(rows, groups, lambda row: row.measures.get("nDCG@10"))
    titles = [column.title for column in first.columns]
    assert titles == [
        "sembridge-default, zero-shot", "sembridge-default, fine-tuned", "BM25: bm25-tokens",
        "English encoder, untouched", "best other initialization: multivariate", "fused with BM25",
        "best other initialization: multivariate, fine-tuned",
    ]  # fmt: skip


def write_pair(folder: Path, ours: Sequence[float], theirs: Sequence[float], data: str = "mini/faq-ko") -> Path:
    """A grid of BM25 and sembridge-default on one set, with the first queries of its ids."""
    queries = sorted(load_retrieval_data("mini/faq-ko").queries)[: len(ours)]
    cells = {"any/ko/bm25-words/zero-shot": theirs, "splade-en/ko/sembridge-default/zero-shot/0": ours}
    rows = [synthetic_results.scored(cell, data, float(np.mean(values))) for cell, values in cells.items()]
    per_query = {(cell, data): dict(zip(queries, values, strict=True)) for cell, values in cells.items()}
    return synthetic_results.write(folder, rows, per_query=per_query)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([0.9, 0.8, 1.0, 0.9], [0.1, 0.2, 0.1, 0.0], "ahead"),
        ([0.1, 0.2, 0.1, 0.0], [0.9, 0.8, 1.0, 0.9], "behind"),
        ([0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0], "not told apart"),
    ],
)
def test_the_verdict_against_bm25_is_that_of_the_interval(
    tmp_path: Path, ours: list[float], theirs: list[float], verdict: str
) -> None:
    (headline,) = headlines(read_results(write_pair(tmp_path / "grid", ours, theirs)), {})
    (standing,) = headline.standings
    assert standing.verdict == verdict
    assert standing.difference == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert f"Against BM25: {verdict} in ko" in " ".join(headline.sentences)


def test_without_bm25_the_page_says_so(tmp_path: Path) -> None:
    rows = [synthetic_results.scored("splade-en/ko/sembridge-default/zero-shot/0", "klue/ko", 0.5)]
    page = Page(render_report([synthetic_results.write(tmp_path / "grid", rows)]))
    assert "BM25 was not measured" in page.text


def test_queries_won_and_lost_come_largest_first_with_their_texts(tmp_path: Path) -> None:
    data = load_retrieval_data("mini/faq-ko")
    grid = write_pair(tmp_path / "grid", [0.5, 1.0, 0.0, 0.3], [0.5, 0.2, 0.9, 0.1])
    (headline,) = headlines(read_results(grid), {"mini/faq-ko": data})
    (shifts,) = headline.shifts
    queries = sorted(data.queries)
    assert [shift.query_id for shift in shifts.wins] == [queries[1], queries[3]]
    assert [shift.query_id for shift in shifts.losses] == [queries[2]]
    assert (shifts.n_wins, shifts.n_losses, shifts.n_ties) == (2, 1, 1)
    assert data.queries[queries[2]] in Page(render_report([grid])).text


def test_queries_of_data_that_are_not_at_hand_are_shown_by_id(tmp_path: Path) -> None:
    grid = write_pair(tmp_path / "grid", [1.0, 0.0], [0.0, 0.5], data="klue/ko")
    page = Page(render_report([grid]))
    assert "Ids only, because their texts were not found: klue/ko" in page.text
    assert sorted(load_retrieval_data("mini/faq-ko").queries)[0] in page.text


def test_texts_come_from_the_data_folder(tmp_path: Path) -> None:
    queries = sorted(load_retrieval_data("mini/faq-ko").queries)[:2]
    own = tmp_path / "data" / "klue" / "ko"
    (own / "qrels").mkdir(parents=True)
    (own / "corpus.jsonl").write_text('{"_id": "d", "text": "the answer of all"}\n')
    (own / "queries.jsonl").write_text("".join(json.dumps({"_id": q, "text": f"asked {q}"}) + "\n" for q in queries))
    (own / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\td\t1\n" for q in queries))
    grid = write_pair(tmp_path / "grid", [1.0, 0.0], [0.0, 0.5], data="klue/ko")
    page = Page(render_report([grid], settings=ReportSettings(grid_data=tmp_path / "data")))
    assert f"asked {queries[0]}" in page.text
    assert "Ids only" not in page.text


def test_every_chart_has_its_numbers_in_tables_beside_it(grid_page: str) -> None:
    panels = re.findall(r'<section class="panel">(?:(?!</section>).)*<svg.*?</section>', grid_page, re.DOTALL)
    assert len(panels) == 6  # zero-shot, fine-tuned, sweep, flops, overlap, training
    for panel in panels:
        assert "<summary>Table: " in panel, re.findall("<h3>(.*?)</h3>", panel)


def test_the_page_stands_alone(grid_page: str, folder: Path) -> None:
    for text in (grid_page, render_report([folder], settings=QUIET)):
        page = Page(text)
        links = [a.get(name) for _, a in page.elements for name in ("src", "href", "srcset", "data") if name in a]
        assert all(link is not None and (link.startswith("#") or link == "data:,") for link in links)
        assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        targets = [link[1:] for link in links if link and link.startswith("#")]
        assert set(targets) <= set(ids)


def test_every_field_has_a_label_and_every_region_a_name(folder: Path, grid_page: str) -> None:
    for text in (grid_page, render_report([folder], settings=QUIET)):
        page = Page(text)
        assert all(a.get("aria-label") for _, a in page.elements if a.get("role") == "region")
        fields = len(page.named("input")) + len(page.named("select"))
        assert len(page.named("label")) == fields


def test_the_same_folders_give_the_same_page(folder: Path, grid: Path, grid_page: str) -> None:
    assert render_report([grid]) == grid_page
    assert render_report([folder], settings=QUIET) == render_report([folder], settings=QUIET)


def test_nothing_in_the_folders_can_break_the_page(folder: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "a<img src=x>&"
    hostile.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (hostile / file.name).write_bytes(file.read_bytes())
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    report |= {"source_encoder": HOSTILE, "target_tokenizer": HOSTILE, "language": f"ko{HOSTILE}"}
    report["scripts"][HOSTILE] = {"combined": 1, HOSTILE: 2}
    report["least_certain"] = [{"token": HOSTILE, "similarity": 0.1, "sources": [HOSTILE, "\x00"]}]
    report["recipe"] = {HOSTILE: HOSTILE}
    (hostile / "report.json").write_text(json.dumps(report))
    clean = Page(render_report([folder], settings=QUIET))
    settings = replace(QUIET, title=HOSTILE)
    text = render_report([hostile], settings=settings)
    text.encode()
    page = Page(text)
    assert len(page.named("img")) == 0
    assert len(page.scripts) == len(clean.scripts)
    assert HOSTILE in page.text
    assert not {name for _, attributes in page.elements for name in attributes if name.startswith("on")}


def test_a_hostile_token_reaches_the_explorer_whole(folder: Path) -> None:
    columns = read_alignment(read_folders([folder]).transfers[0])
    broken = replace(columns, texts=[HOSTILE, *columns.texts[1:]], name=HOSTILE)
    from sembridge.experiments.report.page import Content, render

    nothing: dict[str, Any] = {"title": "", "notes": (), "measurements": (), "training": None, "coverages": (),
                               "examples": (), "missing_texts": ()}  # fmt: skip
    page = Page(render(Content(**nothing, explorer=pack_explorer([broken], budget=10**6))))
    assert unpacked(page.data(), 0)[0]["text"] == HOSTILE
    assert page.data()["transfers"][0]["name"] == HOSTILE
    assert len(page.named("img")) == 0


def test_a_hostile_text_is_shown_and_not_run(folder: Path) -> None:
    settings = ReportSettings(texts=[f"학교 {HOSTILE}"], measure=False)
    page = Page(render_report([folder], settings=settings))
    assert len(page.named("img")) == 0
    assert f"학교 {HOSTILE}" in page.text


def five_languages(n_tokens: int = 24_000) -> list[TokenColumns]:
    """As hard to pack as alignments can be: random texts, source tokens and weights, three parts a row."""
    generator = np.random.default_rng(0)
    sources = [f"token{number}" for number in range(14_000)]
    languages = []
    for start in (0xAC00, 0x4E00, 0x0900, 0x0430, 0x0627):
        letters = generator.integers(start, start + (2000 if start > 0x4000 else 40), (n_tokens, 3)).tolist()
        weights = np.sort(generator.dirichlet(np.ones(3), n_tokens), axis=1)[:, ::-1]
        languages.append(
            TokenColumns(
                name=f"from {start:x}",
                language=None,
                texts=["".join(map(chr, word)) for word in letters],
                kinds=["combined"] * n_tokens,
                scripts=["hangul"] * n_tokens,
                continues=generator.random(n_tokens) < 0.3,
                support=np.full(n_tokens, 3),
                similarity=generator.random(n_tokens),
                part_tokens=[sources[i] for i in generator.integers(0, len(sources), 3 * n_tokens).tolist()],
                part_weights=weights.ravel(),
            )
        )
    return languages


def test_five_languages_of_24000_tokens_stay_below_two_million_bytes() -> None:
    packed = pack_explorer(five_languages(), budget=1_400_000)
    assert packed is not None
    assert len(json.dumps(packed)) <= 1_400_000
    kept = [(of["n"], of["n_all"]) for of in packed["transfers"]]  # type: ignore[attr-defined]
    assert all(0.5 * n_all < n <= n_all == 24_000 for n, n_all in kept)


def test_what_is_left_out_for_size_are_light_parts_first_then_last_tokens() -> None:
    columns = five_languages(300)[:1]
    whole = pack_explorer(columns, budget=10**6)
    assert whole is not None
    assert whole["max_parts"] == 3
    fewer = pack_explorer(columns, budget=len(json.dumps(whole)) - 500)
    assert fewer is not None
    assert fewer["max_parts"] < 3
    tokens = unpacked(fewer, 0)
    assert [token["text"] for token in tokens] == columns[0].texts
    assert [token["parts"] for token in tokens] == [t["parts"][: fewer["max_parts"]] for t in unpacked(whole, 0)]
    least = pack_explorer(columns, budget=2500)
    assert least is not None
    assert 0 < len(unpacked(least, 0)) < 300
    assert unpacked(least, 0) == [t | {"parts": t["parts"][:1]} for t in unpacked(whole, 0)][: len(unpacked(least, 0))]


def test_examples_are_the_encoders_own_products(folder: Path) -> None:
    settings = ReportSettings(measure=False)
    text = render_report([folder], settings=settings)
    page = Page(text)
    data = load_retrieval_data("mini/faq-ko")
    query = sorted(data.queries)[0]
    assert data.queries[query] in page.text
    encoder = load_encoder(folder)
    answer = data.corpus[next(iter(data.qrels[query]))]
    score = float(encoder.similarity(encoder.encode_query([data.queries[query]]), encoder.encode_document([answer])))
    assert f"Shared terms: score {score:.2f}" in page.text


def test_a_transfer_without_a_grid_is_measured_beside_bm25(folder: Path) -> None:
    data, encoder = load_retrieval_data("mini/faq-ko"), load_encoder(folder)
    page = Page(render_report([folder], settings=ReportSettings(examples=False)))
    own = evaluate(encoder, data, encode_with="fast").measures["nDCG@10"]
    bm25 = max(evaluate_bm25(data, tokenizer).measures["nDCG@10"] for tokenizer in (encoder.tokenizer, None))
    for value, title in ((own, "sembridge-default, zero-shot"), (bm25, "BM25: ")):
        assert f"{value:.3f}".removeprefix("0") + f" {title}" in page.text
    assert "Measured for this page" in page.text


def test_a_transfer_is_measured_on_data_of_ones_own_with_its_verdict(folder: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "mine" / "de")
    settings = ReportSettings(data=(str(data),))
    page = Page(render_report([folder], settings=settings)).text
    encoder, own = load_encoder(str(folder)), load_retrieval_data(data)
    (report,) = compare_systems({"ko": encoder}, [own], EvaluationSettings(encode_with="fast"))
    assert f"{report.verdicts[0].sentence[:-1]} (nDCG@10 on mine/de)." in page
    assert "Measured for this page on mine/de." in page
    assert "of mine/de, not chosen by their results" in page  # the examples
    assert "Nothing was measured" not in page


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"data": ("./none",)}, "No retrieval data at './none': expected a BEIR folder"),
        ({"data": ("mini/faq-ko",), "measure": False}, "leave it away, or --no-measure"),
        ({"grid_data": Path("none")}, "none is no folder; expected the one that holds the grid's data sets"),
    ],
)
def test_data_that_is_not_there_is_refused(folder: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(SembridgeError, match=re.escape(message)):
        render_report([folder], settings=ReportSettings(**more))


def test_data_without_an_encoder_to_measure_are_refused(grid: Path) -> None:
    with pytest.raises(SembridgeError, match="the folder of a grid's data sets is given by --grid-data"):
        render_report([grid], settings=ReportSettings(data=("mini/faq-ko",)))


def test_a_language_without_bundled_questions_is_told_the_command_that_measures(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "de")
    report = json.loads((folder / "report.json").read_text())
    (tmp_path / "de" / "report.json").write_text(json.dumps(report | {"language": "de"}))
    html = render_report([tmp_path / "de"])
    assert "there are no bundled questions in de" in html
    assert f"sembridge report {tmp_path / 'de'} --data MYSET measures on your own queries" in Page(html).text
    assert "`" not in Page(html).text.partition("How it was made")[0]
    assert '<span class="nowrap">--data</span>' in html


def test_one_curve_without_dev_values_has_no_empty_panel(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "t")
    lines = [json.dumps({"step": step, "loss": 2 / (step + 1)}) + "\n" for step in range(9)]
    (tmp_path / "t" / "curve.jsonl").write_text("".join(lines))
    with_dev, without = (render_report([place], settings=QUIET) for place in (trained, tmp_path / "t"))
    assert "1 curve; a line" in without
    for html, n_axes in ((with_dev, 2), (without, 1)):
        assert html.count('transform="translate(') == n_axes


def test_figures_of_one_language_fit_a_phone(tmp_path: Path) -> None:
    rows = [synthetic_results.row(f"splade-en/de/{m}/zero-shot/0", "a") for m in ("sembridge-default", "random")]
    html = render_report([synthetic_results.write(tmp_path / "grid", rows)])
    assert html.count('class="scroll chart narrow"') == 2
    assert re.findall(r'<svg [^>]*width="(\d+)', html) == ["430", "430"]


def test_a_grid_spares_the_measurement(folder: Path, grid: Path) -> None:
    page = Page(render_report([folder, grid], settings=ReportSettings(examples=False)))
    assert "Measured for this page" not in page.text


@pytest.mark.parametrize(
    ("file", "text", "refusal"),
    [
        ("report.json", "{", r"report.json is not JSON .*; run the transfer again"),
        ("report.json", "[]", r"report.json: the whole: .*; run the transfer again"),
        ("report.json", '{"source_encoder": 3}', r"report.json: source_encoder: .*; run the transfer again"),
        ("report.json", None, r"has no report.json; run the transfer again"),
        ("report.json", b"\xff", r"report.json is not UTF-8 text; run the transfer again"),
        ("alignment.safetensors", b"no", r"alignment.safetensors is damaged .*; run the transfer again"),
        ("training.json", None, r"has no training.json; run the training again"),
        ("training.json", '{"data": "x"}', r"training.json: pairs: .*; run the training again"),
        ("curve.jsonl", '{"step": 1}\n{"step": NaN}', r"curve.jsonl, line 2: step: .*; run the training again"),
        ("curve.jsonl", None, r"has no curve.jsonl; run the training again"),
        ("results.jsonl", "{}", r"results.jsonl, line 1: cell: "),
        ("results.jsonl", "", r"results.jsonl is empty"),
    ],
)
def test_damaged_files_are_refused_by_name(
    trained: Path, tmp_path: Path, file: str, text: str | bytes | None, refusal: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in trained.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    if text is None:
        (copy / file).unlink()
    else:
        (copy / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SembridgeError, match=refusal):
        render_report([copy], settings=QUIET)


def test_folders_of_no_kind_are_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for given, refusal in (
        ([], "No folder given"),
        ([tmp_path / "nowhere"], "nowhere does not exist; expected a folder"),
        ([tmp_path / "file"], "file is a file; expected a folder"),
        ([tmp_path / "empty"], "empty is none of a transfer .*, a training .* and a grid"),
        ([folder, folder / "."], "was given twice"),
    ):
        with pytest.raises(SembridgeError, match=refusal):
            render_report(given, settings=QUIET)


def test_a_report_is_written_whole_or_not_at_all(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    with pytest.raises(SembridgeError, match="exists; give a new name, or --overwrite"):
        write_report([grid], out)
    with pytest.raises(SembridgeError, match="does not exist"):
        write_report([tmp_path / "nowhere"], out, overwrite=True)
    assert out.read_text() == "old"
    with pytest.raises(SembridgeError, match="not a folder you can write to"):
        write_report([grid], tmp_path / "no" / "report.html")
    assert write_report([grid], out, overwrite=True) == out
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_verb_writes_the_page_and_says_its_size(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = sembridge("report", folder, "--out", out, "--no-examples", "--no-measure", "--title", "Ours", "--json")
    assert (done.code, json.loads(done.out)) == (0, {"report": str(out), "bytes": out.stat().st_size})
    assert "<title>Ours</title>" in out.read_text(encoding="utf-8")
    assert "exists; give a new name" in sembridge("report", folder, "--out", out).line
    assert "does not exist" in sembridge("report", tmp_path / "no", "--out", out, "--overwrite").line
    assert sembridge("report", folder, "--text", "a", "--no-examples").code == 2
