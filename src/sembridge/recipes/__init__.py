"""What can be set, and what it is set to when nobody says anything; one file a kind of recipe.

Defaults live here and nowhere else; a recipe file that is written beside an output reproduces it.
"""

from sembridge.recipes.base import Recipe
from sembridge.recipes.transfer import PRESETS, Method, Preset, TransferRecipe

__all__ = ["PRESETS", "Method", "Preset", "Recipe", "TransferRecipe"]
