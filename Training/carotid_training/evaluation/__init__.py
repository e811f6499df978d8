"""How good a model is: outcomes, numbers, tables, figures."""
