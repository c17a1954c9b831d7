"""What can be set, and what it is set to when nobody says anything; one file a kind of recipe.

Defaults live here and nowhere else; a recipe file that is written beside an output reproduces it.
"""

from sembridge.recipes.base import Recipe
from sembridge.recipes.encode import EncodeRecipe
from sembridge.recipes.grid import AlphaSweep, DataSet, GridLanguage, GridRecipe, Sampling, draws, short_name
from sembridge.recipes.train import TrainRecipe
from sembridge.recipes.transfer import PRESETS, Method, Preset, TransferRecipe

__all__ = [
    "PRESETS",
    "AlphaSweep",
    "DataSet",
    "EncodeRecipe",
    "GridLanguage",
    "GridRecipe",
    "Method",
    "Preset",
    "Recipe",
    "Sampling",
    "TrainRecipe",
    "TransferRecipe",
    "draws",
    "short_name",
]
