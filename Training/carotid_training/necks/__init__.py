"""Digital necks: synthetic CT angiographies of the neck, each a pure function of its seed."""
