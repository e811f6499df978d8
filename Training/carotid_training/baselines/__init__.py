"""The methods of Table 1 of Ma et al. (ISBI 2020), trained and measured side by side: docs/reproduction.md."""
