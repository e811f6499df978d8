"""How the chain learns: module, losses, augmentation, the command `fit`."""
