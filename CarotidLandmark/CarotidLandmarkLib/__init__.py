"""CarotidLandmark's library: from a neck CT angiography to two carotid bifurcations with calibrated uncertainty.

Points are LPS millimetres (``_lps``), arrays are [k, j, i], intensities are HU. Importing this package imports nothing.
"""

__version__ = "0.1.0"
