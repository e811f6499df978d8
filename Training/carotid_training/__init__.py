"""Digital necks, training, evaluation and export of CarotidLandmark's models."""
