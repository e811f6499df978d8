"""Part of the module's panel: the cases of a dataset, the one in the scene and the queue of all (Qt)."""

from .case import CaseInScene
from .drafts import Work
from .folder import Models, open_or_create, without_model
from .outcome import NO_MODEL
from .queue import CaseList, ReviewQueue
