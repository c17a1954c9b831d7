"""`sembridge tokenizer`: a tokenizer made from a corpus."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.options import Json, Settings, verb
from sembridge.cli.printing import console, print_json, print_text_statistics
from sembridge.encoders.tokenizer_recipe import TokenizerRecipe
from sembridge.files.atomic import check_output_folder

if TYPE_CHECKING:
    from sembridge.encoders.tokenizer_training import TrainedTokenizer


@dataclass(frozen=True)
class Texts:
    """What it is made from."""

    corpus: Annotated[
        str, typer.Argument(help="BEIR folder, .jsonl, .jsonl.gz, .parquet, a .txt of passages, or mini/NAME.")
    ]
    also: Annotated[
        list[str] | None, typer.Option(metavar="CORPUS", help="More text, such as a word list; may be repeated.")
    ] = None


@verb("""Examples:

`sembridge tokenizer corpus.jsonl --language ko --out tokenizer-ko`

`sembridge tokenizer mini/faq-ko --also article.txt --language ko --family unigram --out tokenizer-ko-unigram`""")
def tokenizer(
    texts: Texts,
    *,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write; it must be new or empty.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is not empty.")] = False,
    settings: Settings[TokenizerRecipe],
    as_json: Json = False,
) -> None:
    """Makes a tokenizer of a language from a corpus, for a transfer: accents stay, capitals go.

    Writes a stock tokenizer folder with `tokenizer_recipe.yaml`, and prints how it cuts text that it was not made from.
    """
    recipe = settings.recipe
    check_output_folder(out, overwrite=overwrite)
    from sembridge.retrieval.corpus import Passages

    passages = Passages([texts.corpus, *(texts.also or ())])
    passages.check()
    from sembridge.encoders.tokenizer_training import train_tokenizer

    made = train_tokenizer(passages, recipe, progress=not as_json)
    made.save(out, overwrite=overwrite)
    if as_json:
        statistics = asdict(made.statistics)
        print_json({"folder": str(out), "tokens": len(made.tokenizer), "n_texts": made.n_texts,
                    "n_held_out": made.n_held_out, "recipe": made.recipe.settings(), "text": statistics})  # fmt: skip
    else:
        _print(made, out)


def _print(made: "TrainedTokenizer", out: Path) -> None:
    console.print(f"{len(made.tokenizer):,} tokens ({made.recipe.family}) from {made.n_texts:,} texts")
    print_text_statistics(made.statistics)
    console.print(f"These figures are {made.measured_on}.\nWritten to {out}")
