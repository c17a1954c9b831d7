"""The main job on the bundled models, in the terminal and as a page."""
