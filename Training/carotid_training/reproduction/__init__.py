"""Table 1 of the paper: its methods and ours, trained and measured side by side."""
