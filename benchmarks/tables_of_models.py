"""Tables of the bundled models and of what confidence is worth."""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

from page_tables import load, short, table, versions_of

from sembridge.experiments.results import MEASURE


def bundled_encoders(_: Path, split: str = "encoder") -> str:
    """A row a set; on dev splits, where goals are means, the mean of each encoder too."""
    header = ["encoder", "set", "queries", "documents", MEASURE, "BM25", "query dims", "document dims", "FLOPS"]
    rows = load("bundled_models")[split]
    lines = [
        [r["encoder"], r["data"], f"{r['n_queries']:,}", f"{r['n_documents']:,}", *_encoder_figures([r])] for r in rows
    ]
    for encoder in dict.fromkeys(r["encoder"] for r in rows) if split == "development" else ():
        lines.append([encoder, "mean", "", "", *_encoder_figures([r for r in rows if r["encoder"] == encoder])])
    return table(header, lines)


def _encoder_figures(rows: list[dict]) -> list[str]:
    """Means over rows: nDCG@10, BM25's, dims of a query and of a document, FLOPS."""
    keys = (MEASURE, f"bm25 {MEASURE}", "query_active_dims", "document_active_dims", "flops")
    found, bm25, query_dims, document_dims, flops = (fmean(r[key] for r in rows) for key in keys)
    return [short(found), short(bm25), f"{query_dims:.0f}", f"{document_dims:.0f}", f"{flops:.2f}"]


def bundled_bridge(_: Path) -> str:
    rows = load("bundled_models")["bridge"]
    body = [[r["language"], r["words"], str(r["n_words"]), f"{r['top 1']:.2f}", f"{r['top 5']:.2f}"] for r in rows]
    return table(["language", "words", "number", "top 1", "top 5"], body) + "\n\n" + versions_of("bundled_models")


def confidence(_: Path, name: str = "confidence") -> str:
    """Shares of right rows by confidence, over all languages; of the most believed by language and by headwords alone.

    The bundled bridge was trained on some headwords and not on others; other bridges know no such difference.
    """
    rows = load(name)["rows"]
    bands = sorted({r["from"] for r in rows})
    body = []
    for source, bridge in dict.fromkeys((r["source"], r["bridge"]) for r in rows):
        of_pair = [r for r in rows if (r["source"], r["bridge"]) == (source, bridge)]
        kinds = {k: [r for r in of_pair if r["headwords"] == k] for k in ("seen", "held out")}
        for headwords, own in kinds.items() if bridge == "mini/bridge" else [("all", of_pair)]:
            languages = sorted({r["language"] for r in own})
            most = [_share(r for r in own if r["language"] == one and r["from"] == bands[-1]) for one in languages]
            cells = [_share(r for r in own if r["from"] == low) for low in bands]
            by_language = ", ".join(map(" ".join, zip(languages, most, strict=True)))
            strict = _share((r for r in own if r["from"] == bands[-1]), forms=False)
            body.append([source, bridge, headwords, *cells, by_language, strict])
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise([*bands, 1.0])]
    header = ["source encoder", "bridge", "headwords", *names, "the last, by language", "the last, headwords alone"]
    return table(header, body) + "\n\n" + versions_of(name)


def _share(rows: Iterable[dict], *, forms: bool = True) -> str:
    """Of rows whose heaviest source token is a headword or, with `forms`, another form of one."""
    found = list(rows)
    n, right = sum(r["n"] for r in found), sum(r["right"] + forms * r["form"] for r in found)
    return f"{right / n:.2f} of {n:,}" if n else "none"


LATIN_ROWS = {
    "english": "untouched English encoder",
    "paper": "transferred, preset paper",
    "default": "transferred, preset default",
    "without accents": "the same, accents stripped",
    "fused": "default fused with BM25",
}


def latin_script(_: Path) -> str:
    """Languages in Latin letters: encoders by rows, and what they are compared with."""
    found = load("latin_script")
    languages = list(dict.fromkeys(row["language"] for row in found))
    values = {(row["source"], row["row"], row["language"]): row["all"] for row in found}

    def line(label: str, source: str, row: str) -> list[str]:
        of_row = [values[source, row, language] for language in languages]
        return [label, *map(short, of_row), short(sum(of_row) / len(of_row))]

    body = [line("BM25", "", "bm25"), line("dense search with the bridge", "", "bridge")]
    for source in dict.fromkeys(row["source"] for row in found if row["source"]):
        body += [line(f"{source}: {label}", source, row) for row, label in LATIN_ROWS.items()]
    return table(["", *languages, "mean"], body)


MAKERS: dict[str, Callable[..., str]] = {
    "bundled-encoders": bundled_encoders, "bundled-bridge": bundled_bridge, "confidence": confidence,
    "latin-script": latin_script,
}  # fmt: skip
