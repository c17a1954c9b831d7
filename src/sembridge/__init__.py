"""SemBridge moves an English learned sparse retrieval encoder (SPLADE) to another language.

>>> from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
>>> result = transfer(load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"), load_bridge("mini/bridge"))
>>> result.save("splade-ko")  # doctest: +SKIP

Here is a function for every verb of the command line, what they take and what they give; parts stay in their modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sembridge.deployment.encoding import EncodingReport
    from sembridge.deployment.encoding import encode_shards as encode
    from sembridge.deployment.export.formats import export
    from sembridge.deployment.recipe import EncodeRecipe, IndexRecipe
    from sembridge.deployment.search.index import SearchIndex, search
    from sembridge.deployment.search.indexing import IndexReport
    from sembridge.deployment.search.indexing import index_corpus as index
    from sembridge.deployment.search.protocol import Hit
    from sembridge.encoders.loading import load_bridge, load_encoder, load_tokenizer
    from sembridge.encoders.tokenizer_recipe import TokenizerRecipe
    from sembridge.encoders.tokenizer_training import TrainedTokenizer, train_tokenizer
    from sembridge.errors import MissingExtraError, SembridgeError
    from sembridge.experiments.report.writing import ReportSettings
    from sembridge.experiments.report.writing import write_report as report
    from sembridge.experiments.tuning import Tuning, load_tuning_data, tune
    from sembridge.language_transfer.alignment import Alignment
    from sembridge.language_transfer.assembly import transfer
    from sembridge.language_transfer.bridge import Bridge
    from sembridge.language_transfer.explanation import Explainer, Explanation, explain
    from sembridge.language_transfer.folder import LanguageTransfer, Origin
    from sembridge.language_transfer.inspection import Inspection, inspect
    from sembridge.language_transfer.recipe import TransferRecipe
    from sembridge.retrieval.comparison import DataReport, EvaluationSettings
    from sembridge.retrieval.comparison import compare_systems as compare
    from sembridge.retrieval.data import RetrievalData
    from sembridge.retrieval.evaluation import Evaluation, evaluate
    from sembridge.retrieval.sources import load_retrieval_data
    from sembridge.training.data import TrainingData, load_training_data
    from sembridge.training.fine_tuning import train
    from sembridge.training.outcome import Training
    from sembridge.training.recipe import TrainRecipe
    from sembridge.training.trainer import RunOptions

# Name -> where it is; a verb's function has a longer name where the module says more than the verb.
_HOME = {
    "Alignment": "language_transfer.alignment.Alignment",
    "Bridge": "language_transfer.bridge.Bridge",
    "DataReport": "retrieval.comparison.DataReport",
    "EncodeRecipe": "deployment.recipe.EncodeRecipe",
    "EncodingReport": "deployment.encoding.EncodingReport",
    "Evaluation": "retrieval.evaluation.Evaluation",
    "EvaluationSettings": "retrieval.comparison.EvaluationSettings",
    "Explainer": "language_transfer.explanation.Explainer",
    "Explanation": "language_transfer.explanation.Explanation",
    "Hit": "deployment.search.protocol.Hit",
    "IndexRecipe": "deployment.recipe.IndexRecipe",
    "IndexReport": "deployment.search.indexing.IndexReport",
    "Inspection": "language_transfer.inspection.Inspection",
    "LanguageTransfer": "language_transfer.folder.LanguageTransfer",
    "MissingExtraError": "errors.MissingExtraError",
    "Origin": "language_transfer.folder.Origin",
    "ReportSettings": "experiments.report.writing.ReportSettings",
    "RetrievalData": "retrieval.data.RetrievalData",
    "RunOptions": "training.trainer.RunOptions",
    "SearchIndex": "deployment.search.index.SearchIndex",
    "SembridgeError": "errors.SembridgeError",
    "TokenizerRecipe": "encoders.tokenizer_recipe.TokenizerRecipe",
    "TrainRecipe": "training.recipe.TrainRecipe",
    "TrainedTokenizer": "encoders.tokenizer_training.TrainedTokenizer",
    "Training": "training.outcome.Training",
    "TrainingData": "training.data.TrainingData",
    "TransferRecipe": "language_transfer.recipe.TransferRecipe",
    "Tuning": "experiments.tuning.Tuning",
    "compare": "retrieval.comparison.compare_systems",
    "encode": "deployment.encoding.encode_shards",
    "evaluate": "retrieval.evaluation.evaluate",
    "explain": "language_transfer.explanation.explain",
    "export": "deployment.export.formats.export",
    "index": "deployment.search.indexing.index_corpus",
    "inspect": "language_transfer.inspection.inspect",
    "load_bridge": "encoders.loading.load_bridge",
    "load_encoder": "encoders.loading.load_encoder",
    "load_retrieval_data": "retrieval.sources.load_retrieval_data",
    "load_tokenizer": "encoders.loading.load_tokenizer",
    "load_training_data": "training.data.load_training_data",
    "load_tuning_data": "experiments.tuning.load_tuning_data",
    "report": "experiments.report.writing.write_report",
    "search": "deployment.search.index.search",
    "train": "training.fine_tuning.train",
    "train_tokenizer": "encoders.tokenizer_training.train_tokenizer",
    "transfer": "language_transfer.assembly.transfer",
    "tune": "experiments.tuning.tune",
}
__all__ = [
    "Alignment",
    "Bridge",
    "DataReport",
    "EncodeRecipe",
    "EncodingReport",
    "Evaluation",
    "EvaluationSettings",
    "Explainer",
    "Explanation",
    "Hit",
    "IndexRecipe",
    "IndexReport",
    "Inspection",
    "LanguageTransfer",
    "MissingExtraError",
    "Origin",
    "ReportSettings",
    "RetrievalData",
    "RunOptions",
    "SearchIndex",
    "SembridgeError",
    "TokenizerRecipe",
    "TrainRecipe",
    "TrainedTokenizer",
    "Training",
    "TrainingData",
    "TransferRecipe",
    "Tuning",
    "compare",
    "encode",
    "evaluate",
    "explain",
    "export",
    "index",
    "inspect",
    "load_bridge",
    "load_encoder",
    "load_retrieval_data",
    "load_tokenizer",
    "load_training_data",
    "load_tuning_data",
    "report",
    "search",
    "train",
    "train_tokenizer",
    "transfer",
    "tune",
]


def __getattr__(name: str) -> object:
    # Imported on first use: torch and sentence-transformers take seconds.
    if name not in _HOME:
        raise AttributeError(f"module 'sembridge' has no attribute {name!r}")
    module, _, attribute = _HOME[name].rpartition(".")
    return getattr(import_module(f"sembridge.{module}"), attribute)


def __dir__() -> list[str]:
    return __all__
