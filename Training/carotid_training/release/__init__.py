"""From a run to a model that others use: export, fine-tuning, card, presence."""
