"""Each setting of the default preset changed alone, over nine combinations of source encoder, bridge and vocabulary.

    python reproduction/published/switches.py DATA MODELS OUT.jsonl [COMBINATION...] [--settings NAME...]

Run in the repository's root. MODELS holds the published parts (README.md beside this). Dev splits alone: at most 100
queries and 200 documents a set, documents cut at 128 tokens. One line a measurement; what OUT.jsonl has is not measured
again.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SparseEncoder

from sembridge import load_bridge, load_encoder, load_tokenizer
from sembridge.experiments.results import MEASURE
from sembridge.language_transfer import assembly
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import evaluate
from sembridge.retrieval.sources import load_retrieval_data

sys.path.insert(0, str(Path(__file__).parent.parent / "mini"))
from development_data import parallel_pairs

LENGTH, QUERIES, DOCUMENTS = 128, 100, 200
LINES_OF_TEXT = 20_000
NOISE = 1.0  # of a weakened bridge: as long as its vectors

ENCODERS = {
    "tiny": "{models}/splade-tiny",
    "six layers": "mini/splade-en",
    "three layers": "mini/splade-roberta-en",
}
BRIDGES = {"e5": "{models}/e5-small", "bundled": "mini/bridge", "weakened": "mini/bridge"}
SETS = {
    "ko": ("tydiqa/ko", "kobest_boolq/ko"),
    "ru": ("danetqa/ru", "mini/faq-ru"),
    "zh": ("cmrc2018/zh", "mini/faq-zh"),
    "ar": ("arcd/ar", "mini/faq-ar"),
}


@dataclass(frozen=True)
class Combination:
    """What is combined; `bundled` vocabularies have 24k entries, published ones 21k to 82k."""

    encoder: str
    bridge: str
    language: str
    vocabulary: str

    @property
    def name(self) -> str:
        return f"{self.encoder}, {self.bridge}, {self.language} {self.vocabulary}"


COMBINATIONS = (
    Combination("tiny", "e5", "ko", "32k"),
    Combination("tiny", "e5", "ru", "82k"),
    Combination("tiny", "e5", "zh", "21k"),
    Combination("tiny", "e5", "ar", "32k"),
    Combination("tiny", "bundled", "ko", "24k"),
    Combination("tiny", "weakened", "ko", "24k"),
    Combination("six layers", "e5", "ru", "24k"),
    Combination("six layers", "bundled", "ko", "24k"),
    Combination("three layers", "bundled", "ru", "24k"),
)

TEXT = "text"  # a setting that stands for the language's own text
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "candidates: all": {"candidates": "all"},
    "merge_twins: false": {"merge_twins": False},
    "hub_neighbours: 0": {"hub_neighbours": 0},
    "evidence: false, residual: 0": {"evidence": False, "residual": 0.0},
    "residual: 0": {"residual": 0.0},
    "residual: 0.3 without its rule": {"residual": 0.3},
    "firing_cap: 1": {"firing_cap": 1.0},
    "match_activity: false": {"match_activity": False},
    "alpha: 4": {"alpha": 4.0},
    "alpha: 8": {"alpha": 8.0},
    "paper": {"preset": "paper"},
    "multivariate": {"method": "multivariate"},
    "target_text": {TEXT: True},
    "through_words: true": {TEXT: True, "through_words": True},
    "default, another draw": {"seed": 1},
    "default, a third draw": {"seed": 2},
}
WITHOUT_RULE = "residual: 0.3 without its rule"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("combinations", nargs="*", choices=[[], *(c.name for c in COMBINATIONS)], metavar="COMBINATION")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for combination in COMBINATIONS:
        if not arguments.combinations or combination.name in arguments.combinations:
            measure(combination, arguments.settings, arguments)


def measure(combination: Combination, settings: list[str], arguments: argparse.Namespace) -> None:
    """Appends what is missing of one combination to the file of measurements."""
    done = {(line["combination"], line["setting"]) for line in measured(arguments.out)}
    missing = [name for name in settings if (combination.name, name) not in done]
    if not missing:
        return
    encoder, bridge, tokenizer = parts(combination, arguments.models)
    sets = dict(data_sets(combination.language, arguments.data))
    for name in missing:
        recipe = TransferRecipe.build(with_text(SETTINGS[name], combination.language, arguments))
        line = {"combination": combination.name, "setting": name}
        line |= outcome(encoder, tokenizer, bridge, recipe, sets, has_rule=name != WITHOUT_RULE)
        with arguments.out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{combination.name:28} {name:32} {line['mean']:.3f} {line['dims']:.0f} dims", flush=True)


def measured(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def parts(combination: Combination, models: Path) -> tuple[SparseEncoder, SentenceTransformer, Any]:
    encoder = load_encoder(ENCODERS[combination.encoder].format(models=models))
    bridge = load_bridge(BRIDGES[combination.bridge].format(models=models))
    if combination.bridge == "weakened":
        weaken(bridge)
    folder = "mini" if combination.vocabulary == "24k" else models
    return encoder, bridge, load_tokenizer(f"{folder}/tokenizer-{combination.language}")


def weaken(bridge: SentenceTransformer) -> None:
    """Adds Gaussian noise to every vector of a static bridge, as long as the mean vector is."""
    table = bridge[0].embedding.weight.data
    noise = torch.randn(table.shape, generator=torch.Generator().manual_seed(0))
    table += NOISE * table.norm(dim=1).mean() / table.shape[1] ** 0.5 * noise


def data_sets(language: str, data: Path) -> Iterator[tuple[str, RetrievalData]]:
    for name in SETS[language]:
        place = name if name.startswith("mini/") else str(data / name)
        yield name, load_retrieval_data(place, split="dev", language=language).sample(QUERIES, DOCUMENTS, seed=0)


def with_text(settings: dict[str, Any], language: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The same, with the target sides of the language's parallel text in a file where they ask for text."""
    if TEXT not in settings:
        return settings
    path = arguments.out.with_name(f"text-{language}.txt")
    if not path.exists():
        texts = [" ".join(pair[1].split()) for pair in parallel_pairs(arguments.data, language)[:LINES_OF_TEXT]]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return {name: value for name, value in settings.items() if name != TEXT} | {"target_text": str(path)}


def outcome(
    encoder: SparseEncoder,
    tokenizer: Any,
    bridge: SentenceTransformer,
    recipe: TransferRecipe,
    sets: dict[str, RetrievalData],
    *,
    has_rule: bool,
) -> dict[str, Any]:
    """nDCG@10 by set and as a mean, what a document costs, and what the transfer decided by its rules."""
    usual = assembly.MOST_EXCESS
    assembly.MOST_EXCESS = usual if has_rule else float("inf")
    try:
        result = transfer(encoder, tokenizer, bridge, recipe=recipe)
    finally:
        assembly.MOST_EXCESS = usual
    result.encoder.max_seq_length = LENGTH
    found = {
        name: evaluate(result.encoder, data, measures=[MEASURE], encode_with="fast-bf16") for name, data in sets.items()
    }
    return {
        "mean": round(fmean(x.measures[MEASURE] for x in found.values()), 4),
        "dims": round(fmean(x.document_active_dims for x in found.values()), 1),
        "flops": round(fmean(x.flops for x in found.values()), 3),
        "sets": {name: round(x.measures[MEASURE], 4) for name, x in found.items()},
        "gain": result.report.gain,
        "residual": result.report.residual,
        "n_lowered": result.report.n_lowered,
    }


if __name__ == "__main__":
    main()
