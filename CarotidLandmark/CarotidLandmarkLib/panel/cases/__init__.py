"""Part of the module's panel: the cases of a dataset, the one in the scene and all the others (Qt)."""

from .adding import ScanAdder
from .case import CaseInScene
from .detect_all import DetectAll
from .folder import Models, landmarks_of, open_dataset, open_or_create
from .outcome import NO_MODEL, check_detectable
from .queue import CaseList, ReviewQueue
