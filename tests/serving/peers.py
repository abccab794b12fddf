"""What stands around a DICOM node in tests: a reader without networks, a sender, a receiver; by pynetdicom."""

import contextlib
import threading
import time

import numpy as np
import pydicom
import pynetdicom
from pydicom import uid

from boneage_jax.serving.dicom_node import Node
from boneage_jax.serving.request import NodeRequest, Peer
from boneage_jax.workflows import radiographs
from boneage_jax.workflows.assessment import Assessment, Seen

MONTHS = 100.0
ANSWERS = (uid.EnhancedSRStorage, uid.SecondaryCaptureImageStorage)


class Reader:
    """In place of networks: always the same age, once the gate is open."""

    networks = ("the shipped bundle none: step 1",)
    remarks = ("Read by nothing.",)

    def __init__(self, refused=(), months=MONTHS):
        self.gate = threading.Event()
        self.gate.set()
        self.refused, self.months = tuple(refused), np.nan if refused else months

    def assess(self, found, males, *, progress):
        assert self.gate.wait(60)
        for one, male in zip(found, males, strict=True):
            assert male is None, "the header's sex counts"
            read = radiographs.read(one)
            if read.image is None:
                yield Assessment(one.name, np.nan, np.nan, "", problem=read.problem), None
            else:
                seen = Seen(read.image, None, None, ())
                yield (
                    Assessment(one.name, self.months, 9.0, "F", self.refused, refused=self.refused, stated=read.stated),
                    seen,
                )


class Receiver:
    """A node that answers go to.

    Attributes:
      got: data sets that it has stored.
      statuses: of the next objects, before all others are stored.
    """

    def __init__(self, classes=ANSWERS, syntaxes=(uid.ExplicitVRLittleEndian,), port=0, title="ARCHIVE"):
        self.got, self.statuses, self.title = [], [], title
        self.tried = 0
        self._entity = pynetdicom.AE(title)
        self._entity.require_called_aet = True
        for one in classes:
            self._entity.add_supported_context(one, list(syntaxes))
        handlers = [(pynetdicom.evt.EVT_C_STORE, self._store)]
        self._server = self._entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self.peer = Peer("127.0.0.1", self._server.server_address[1], title)

    def _store(self, event):
        self.tried += 1
        if self.statuses:
            return self.statuses.pop(0)
        file = pydicom.filebase.DicomBytesIO(event.encoded_dataset())
        self.got.append(pydicom.dcmread(file))
        return 0x0000

    def close(self):
        self._entity.shutdown()

    def wait(self, count, seconds=60):
        """Returns what was stored, once it is so much."""
        assert eventually(lambda: len(self.got) >= count, seconds), f"{len(self.got)} objects, expected {count}"
        return self.got


def eventually(true, seconds=60):
    """Whether something becomes true in time."""
    until = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def receiver(**options):
    made = Receiver(**options)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def node(to, reader=None, **options):
    """A node that listens; it has stopped, and delivered, when the block ends."""
    made = Node(NodeRequest(to, **({"port": 0, "pause": 0.05} | options)), reader or Reader())
    made.start()
    try:
        yield made
    finally:
        made.stop()


def send(port, *datasets, title="CR_ROOM_2", called="BONEAGE"):
    """Sends data sets as they are; returns the status of each, None where the association was refused or aborted."""
    entity = pynetdicom.AE(title)
    for made in datasets:
        with contextlib.suppress(ValueError):
            entity.add_requested_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return [None] * len(datasets)
    try:
        return [association.send_c_store(made).get("Status") for made in datasets]
    finally:
        association.release()
