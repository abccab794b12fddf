"""The DICOM node between senders and receivers of pynetdicom, with a reader that needs no networks."""

import contextlib
import logging
import os
import pathlib
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")

import pynetdicom  # noqa: E402
from pydicom import uid  # noqa: E402
from pydicom.datadict import DicomDictionary, keyword_for_tag  # noqa: E402

from boneage_jax import NOT_A_MEDICAL_DEVICE, cli  # noqa: E402
from boneage_jax.data import dicom  # noqa: E402
from boneage_jax.errors import UserError  # noqa: E402
from boneage_jax.serving import delivery, dicom_node, network  # noqa: E402
from boneage_jax.serving.dicom_node import Node  # noqa: E402
from boneage_jax.serving.request import NodeRequest, Peer  # noqa: E402
from boneage_jax.workflows import report_picture  # noqa: E402
from tests.clinical.reports import IDENTITY, PATIENT, radiograph  # noqa: E402
from tests.conftest import LESS_OPTIMISED  # noqa: E402
from tests.dicom_files import RAMP, encapsulated  # noqa: E402
from tests.serving.peers import MONTHS, Reader, eventually, node, receiver, send  # noqa: E402

# Libraries warn in threads of their own, of what these tests do to them.
pytestmark = pytest.mark.filterwarnings("ignore")

NOWHERE = Peer("127.0.0.1", 1, "NOBODY")


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Servers look whether they are to stop every half second: here more often."""
    monkeypatch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.02,))


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, "boneage_jax.serving")
    return caplog


def of_kinds(objects):
    return {made.SOPClassUID.name.split(" ")[0]: made for made in objects}


def test_a_radiograph_is_answered_by_report_and_picture():
    with receiver() as archive, node(archive.peer) as ours:
        assert send(ours.port, radiograph()) == [0x0000]
        answers = of_kinds(archive.wait(2))
    report, picture = answers["Enhanced"], answers["Secondary"]
    for made in (report, picture):
        assert made.StudyInstanceUID == IDENTITY["StudyInstanceUID"]
        assert made.SeriesInstanceUID != IDENTITY["SeriesInstanceUID"]
        assert (made.PatientID, made.PatientName) == (PATIENT["PatientID"], PATIENT["PatientName"])
    reference = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == IDENTITY["SOPInstanceUID"]
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == IDENTITY["SOPInstanceUID"]
    assert picture.pixel_array.shape == (report_picture.HEIGHT, report_picture.WIDTH, 3)
    numbers = [float(item.MeasuredValueSequence[0].NumericValue) for item in _items(report) if item.ValueType == "NUM"]
    assert MONTHS in numbers
    assert "1 accepted, 1 of them with an age" in ours.summary()
    assert "2 objects delivered, 0 kept in undelivered, 0 lost" in ours.summary()
    assert ours.summary().endswith(NOT_A_MEDICAL_DEVICE)


def _items(item):
    yield from (inner for one in item.get("ContentSequence", ()) for inner in (one, *_items(one)))


def test_a_receiver_of_implicit_vr_alone_is_served_too():
    with receiver(syntaxes=(uid.ImplicitVRLittleEndian,)) as archive, node(archive.peer) as ours:
        assert send(ours.port, radiograph()) == [0x0000]
        answers = of_kinds(archive.wait(2))
    assert answers["Enhanced"].file_meta.TransferSyntaxUID == uid.ImplicitVRLittleEndian
    assert answers["Secondary"].pixel_array.mean() > 0


def test_echo(log):
    with node(NOWHERE) as ours:
        entity = pynetdicom.AE("CR_ROOM_2")
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", ours.port)
        assert association.send_c_echo().Status == 0x0000
        association.release()
    assert "echo" in log.messages


@pytest.mark.parametrize("syntax", dicom.transfer_syntaxes())
def test_each_transfer_syntax_that_can_be_decoded_is_taken(syntax):
    with node(NOWHERE) as ours:
        entity = pynetdicom.AE("CR_ROOM_2")
        for sop_class in ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"):
            entity.add_requested_context(sop_class, syntax)
        association = entity.associate("127.0.0.1", ours.port)
        assert len(association.accepted_contexts) == 3
        association.release()


def test_what_is_no_image_is_not_taken():
    with node(NOWHERE) as ours:
        entity = pynetdicom.AE("CR_ROOM_2")
        entity.add_requested_context(uid.EnhancedSRStorage)
        assert not entity.associate("127.0.0.1", ours.port).is_established


def deflated():
    made = radiograph()
    made.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    return made


def test_deflated_data_sets_are_read():
    with receiver() as archive, node(archive.peer) as ours:
        assert send(ours.port, deflated()) == [0x0000]
        assert len(archive.wait(2)) == 2


def test_a_bomb_of_a_deflated_data_set_is_refused_before_it_fills_memory(log):
    made = deflated()
    made.add_new(0x00091010, "OB", bytes(30_000_000))
    with node(NOWHERE, most_megabytes=1) as ours:
        assert send(ours.port, made) == [0xC000]
    assert "1: refused: larger than this node takes" in log.messages


@pytest.mark.parametrize(
    ("options", "changes", "why"),
    [
        ({"modalities": ("CR",)}, {}, "Modality is another"),
        ({"body_parts": ("HAND",)}, {"BodyPartExamined": "CHEST"}, "BodyPartExamined is another"),
        ({"body_parts": ("HAND",)}, {}, "BodyPartExamined is another"),
        ({"study": "knee"}, {}, "StudyDescription is another"),
        ({"series": "^left"}, {"SeriesDescription": "the left hand"}, "SeriesDescription is another"),
        ({}, {"Manufacturer": "The boneage-jax authors"}, "made by this software"),
    ],
)
def test_what_is_not_selected_is_taken_and_not_answered(options, changes, why, log):
    options = {name: _pattern(value) if isinstance(value, str) else value for name, value in options.items()}
    with receiver() as archive:
        with node(archive.peer, **options) as ours:
            assert send(ours.port, radiograph(**changes)) == [0x0000]
        assert not archive.tried
    assert f"1: not read: {why}" in log.messages
    assert "1 radiographs received, 0 accepted" in ours.summary()


def _pattern(text):
    from boneage_jax.serving import request

    return request._pattern(text)


def test_what_is_selected_is_answered():
    selected = {
        "modalities": ("CR", "DX"),
        "body_parts": ("HAND",),
        "study": _pattern("BONE age"),
        "series": _pattern("^ap|left$"),
    }
    made = radiograph(BodyPartExamined="hand", SeriesDescription="the  LEFT")
    with receiver() as archive, node(archive.peer, **selected) as ours:
        assert send(ours.port, made) == [0x0000]
        archive.wait(2)


def test_our_own_picture_sent_back_by_an_archive_is_not_read_again(log):
    with receiver() as archive, node(archive.peer) as ours:
        send(ours.port, radiograph())
        picture = of_kinds(archive.wait(2))["Secondary"]
        assert send(ours.port, picture) == [0x0000]
        assert eventually(lambda: "2: not read: made by this software" in log.messages)
    assert len(archive.got) == 2


REFUSED = {
    "no size": ({"Rows": None}, 0xA900, "no class, or no size of an image"),
    "frames": ({"NumberOfFrames": 4}, 0xA900, "several frames, expected one image"),
    "bomb": ({"Rows": 60_000, "Columns": 60_000}, 0xC000, "more pixels than this node takes"),
    "strip": ({"Rows": 2}, 0xC000, "too small or too narrow for a hand"),
    "no study": ({"StudyInstanceUID": None}, 0xA900, "patient or study are not as reports need them"),
    "other sex": ({"PatientSex": "X"}, 0xA900, "patient or study are not as reports need them"),
}


@pytest.mark.parametrize("fault", list(REFUSED))
def test_what_could_not_be_read_or_answered_is_refused_at_once(fault, log):
    changes, status, why = REFUSED[fault]
    with receiver() as archive:
        with node(archive.peer) as ours:
            assert send(ours.port, radiograph(**changes), radiograph()) == [status, 0x0000]
        assert len(archive.got) == 2, "the next one is answered"
    assert f"1: refused: {why}" in log.messages


def test_the_sender_is_told_why():
    with node(NOWHERE) as ours:
        entity = pynetdicom.AE("CR_ROOM_2")
        made = radiograph(NumberOfFrames=4)
        entity.add_requested_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", ours.port)
        assert association.send_c_store(made).ErrorComment == "several frames, expected one image"
        association.release()


def test_garbage_in_place_of_a_data_set_is_refused():
    made = radiograph()
    with node(NOWHERE) as ours:
        entity = pynetdicom.AE("CR_ROOM_2")
        entity.add_requested_context(made.SOPClassUID, uid.ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", ours.port)
        request = pynetdicom.dimse_primitives.C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
        import io

        request.DataSet = io.BytesIO(np.random.default_rng(0).bytes(5000))
        association._reactor_checkpoint.clear()
        assert eventually(lambda: association._is_paused)
        association.dimse.send_msg(request, 1)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert answer.Status >> 12 in (0xA, 0xC)
        association.release()


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.RLELossless])
def test_damaged_pixels_do_not_end_the_node(syntax, log):
    """Noise after the first bytes, which are those of the format."""
    beginnings = {
        uid.JPEG2000Lossless: b"\xff\x4f\xff\x51",
        uid.RLELossless: struct.pack("<16I", 1, 64, *[0] * 14),
    }
    frame = beginnings.get(syntax, b"\xff\xd8\xff") + np.random.default_rng(1).bytes(3000)
    with receiver() as archive:
        with node(archive.peer) as ours:
            damaged = encapsulated(radiograph(), syntax, frame)
            assert send(ours.port, damaged, radiograph()) == [0x0000, 0x0000]
        assert len(archive.got) == 2
    assert "1: no answer: the pixels cannot be decoded" in log.messages


def test_a_reader_that_fails_does_not_end_the_node(log):
    class Failing(Reader):
        def assess(self, found, males, *, progress):
            if not self.failed:
                self.failed = True
                raise RuntimeError("Doe^Jane")
            yield from super().assess(found, males, progress=progress)

        failed = False

    with receiver() as archive:
        with node(archive.peer, Failing()) as ours:
            assert send(ours.port, radiograph(), radiograph()) == [0x0000, 0x0000]
        assert len(archive.got) == 2
    assert "1: no answer: it could not be read (RuntimeError)" in log.messages


@pytest.mark.parametrize(("reader", "said"), [(Reader(("two hands",)), "two hands"), (Reader(months=-2.0), "birth")])
def test_a_radiograph_without_an_age_is_answered_by_a_picture_that_says_so(reader, said):
    with receiver() as archive:
        with node(archive.peer, reader) as ours:
            assert send(ours.port, radiograph()) == [0x0000]
        (picture,) = archive.got
    assert picture.SOPClassUID == uid.SecondaryCaptureImageStorage
    assert "no bone age: " in picture.DerivationDescription
    assert said in picture.DerivationDescription
    assert "0 of them with an age" in ours.summary()


def test_a_full_queue_refuses_and_loses_nothing(log):
    reader = Reader()
    reader.gate.clear()
    with receiver() as archive:
        with node(archive.peer, reader, queue=2) as ours:
            assert send(ours.port, radiograph()) == [0x0000]
            assert eventually(lambda: ours._waiting.empty()), "it is being read"
            statuses = send(ours.port, *[radiograph() for _ in range(4)])
            assert statuses == [0x0000, 0x0000, 0xA700, 0xA700]
            reader.gate.set()
        assert len(archive.got) == 2 * 3
    assert "5: refused: too many radiographs wait to be read" in log.messages


def test_only_named_senders_are_taken(log):
    with receiver() as archive:
        with node(archive.peer, allow=("CR_ROOM_1", "CR_ROOM_2")) as ours:
            assert send(ours.port, radiograph(), title="STRANGER") == [None]
            assert send(ours.port, radiograph(), title="CR_ROOM_2") == [0x0000]
        assert len(archive.got) == 2
    assert "association refused: unknown AE title, or too many at once" in log.messages


def test_a_message_that_is_too_long_ends_its_association(log):
    made = radiograph(PixelData=bytes(3_000_000))
    with receiver() as archive:
        with node(archive.peer, most_megabytes=1) as ours:
            with contextlib.suppress(RuntimeError):
                assert send(ours.port, made) == [None]
            assert eventually(lambda: not ours._entity.active_associations)
            assert send(ours.port, radiograph()) == [0x0000]
        assert len(archive.got) == 2
    assert "association aborted: a message of more than 1 megabytes" in log.messages


def test_a_pdu_of_absurd_length_ends_its_connection(monkeypatch):
    monkeypatch.setattr(network, "_ASSOCIATION_S", 1.0)
    with node(NOWHERE) as ours, socket.create_connection(("127.0.0.1", ours.port), timeout=20) as raw:
        raw.sendall(struct.pack(">BBL", 1, 0, 1 << 31) + bytes(1000))
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(1) == b""
        assert eventually(lambda: not ours._entity.active_associations)


def test_a_receiver_that_is_down_gets_its_answer_once_it_is_up(log):
    with receiver() as archive:
        peer = archive.peer
    with node(peer, attempts=200) as ours:
        assert send(ours.port, radiograph()) == [0x0000]
        assert eventually(lambda: any("attempt 2 of 200 failed" in line for line in log.messages))
        with receiver(port=peer.port) as archive:
            assert len(archive.wait(2)) == 2
            assert eventually(lambda: ours.delivery.counts.delivered == 2)


def test_an_object_that_the_receiver_is_too_busy_for_is_sent_again_and_no_other():
    with receiver() as archive:
        archive.statuses = [0x0000, 0xA700]
        with node(archive.peer) as ours:
            send(ours.port, radiograph())
        assert archive.tried == 3
        assert len(archive.got) == 1
    assert ours.delivery.counts.delivered == 2


def test_a_receiver_that_stays_down_fills_the_queue_and_not_the_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(delivery, "_AHEAD", 1)
    with node(NOWHERE, attempts=2, pause=600, queue=1, spool=tmp_path) as ours:
        waiting = [ours.delivery._waiting, ours._waiting]
        assert send(ours.port, radiograph()) == [0x0000]
        assert eventually(lambda: ours.read == 1)
        assert eventually(lambda: not any(one.qsize() for one in waiting)), "it is being sent"
        assert send(ours.port, radiograph()) == [0x0000]
        assert eventually(waiting[0].qsize), "it waits to be sent"
        assert send(ours.port, radiograph()) == [0x0000]
        assert eventually(lambda: ours.read == 3 and not waiting[1].qsize()), "it is read, and its answer must wait"
        assert send(ours.port, radiograph(), radiograph()) == [0x0000, 0xA700]
        ours.hurry()
    assert len(list((tmp_path / "undelivered").iterdir())) == 4 * 2


def test_what_cannot_be_delivered_is_kept(tmp_path, log):
    with node(NOWHERE, attempts=2, spool=tmp_path / "spool") as ours:
        assert send(ours.port, radiograph()) == [0x0000]
    kept = sorted((tmp_path / "spool" / "undelivered").iterdir())
    assert [path.name.split("-")[1] for path in kept] == ["000001.sc.dcm", "000001.sr.dcm"]
    assert {pydicom.dcmread(path).StudyInstanceUID for path in kept} == {IDENTITY["StudyInstanceUID"]}
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert "0 objects delivered, 2 kept in undelivered, 0 lost" in ours.summary()
    assert "1: not delivered; 2 objects lie in undelivered so far" in log.messages
    with node(NOWHERE, spool=tmp_path / "spool"):
        assert "2 objects of earlier runs lie in undelivered" in log.messages


def test_without_a_folder_for_them_they_are_counted(log):
    with node(NOWHERE, attempts=1) as ours:
        assert send(ours.port, radiograph()) == [0x0000]
    assert "0 objects delivered, 0 kept in undelivered, 2 lost" in ours.summary()
    assert "1: 2 objects not delivered, lost; 2 lost so far" in log.messages


def test_a_receiver_without_structured_reports_gets_the_picture(tmp_path, log):
    with receiver(classes=(uid.SecondaryCaptureImageStorage,)) as archive:
        with node(archive.peer, spool=tmp_path) as ours:
            send(ours.port, radiograph())
        assert len(archive.got) == 1
    assert [path.name[-6:] for path in (tmp_path / "undelivered").iterdir()] == ["sr.dcm"]
    assert "1: the receiver refuses the structured report for good" in log.messages
    assert "1 objects delivered, 1 kept in undelivered, 0 lost" in ours.summary()


def test_nothing_is_stored_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with receiver() as archive, node(archive.peer) as ours:
        send(ours.port, radiograph())
        archive.wait(2)
        assert not list(tmp_path.rglob("*"))


def test_what_was_received_is_kept_where_asked(tmp_path):
    with receiver() as archive, node(archive.peer, keep=tmp_path / "kept", modalities=("DX",)) as ours:
        assert send(ours.port, radiograph(), radiograph(Modality="CR")) == [0x0000, 0x0000]
        archive.wait(2)
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name.endswith("-000001.dcm")
    assert kept.stat().st_mode & 0o777 == 0o600
    np.testing.assert_array_equal(pydicom.dcmread(kept).pixel_array, RAMP)


def test_a_radiograph_that_cannot_be_kept_is_refused(tmp_path, log):
    with receiver() as archive, node(archive.peer, keep=tmp_path / "kept") as ours:
        (tmp_path / "kept").rmdir()
        (tmp_path / "kept").write_text("in the way")
        assert send(ours.port, radiograph()) == [0xA700]
    assert not archive.tried
    assert "1: refused: cannot be kept" in log.messages


def test_an_address_that_is_taken_is_one_message():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        made = Node(NodeRequest(NOWHERE, port=taken.getsockname()[1]), Reader())
        with pytest.raises(UserError, match=r"^cannot listen on 127\.0\.0\.1:\d+ \(.*in use.*\); choose another"):
            made.start()


SENSITIVE = "ZZQWERTY"
DAY = "19010203"
SENSITIVE_UID = "1.2.99887766.55443322"
BY_VR = {
    **dict.fromkeys(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "CS"), SENSITIVE),
    "DA": DAY,
    "DT": f"{DAY}010203",
    "TM": "010203.998877",
    "UI": SENSITIVE_UID,
}
NEEDED = ("SOPClassUID", "PhotometricInterpretation", "PatientSex", "TransferSyntaxUID")


def planted(*left_as_they_are):
    """A radiograph with something sensitive in every element of text, date and UID, and in private ones."""
    made = radiograph()
    for tag, (vr, multiplicity, _, retired, _) in DicomDictionary.items():
        group, name = tag >> 16, keyword_for_tag(tag)
        if group in (0x0000, 0x0002, 0x0004) or retired or vr not in BY_VR or name in left_as_they_are:
            continue
        if multiplicity.startswith("1") or vr in ("CS", "LO"):
            made.add_new(tag, vr, BY_VR[vr])
    made.add_new(0x00091010, "LO", SENSITIVE)
    made.add_new(0x0009_0010, "LO", SENSITIVE)
    made.add_new(0x00091011, "UN", SENSITIVE.encode())
    return made


@pytest.mark.parametrize("left_as_they_are", [NEEDED, (*NEEDED, *IDENTITY), (*NEEDED[:1], *IDENTITY), NEEDED[:1]])
@pytest.mark.parametrize("way", ["answered", "failing", "undeliverable"])
def test_no_line_of_the_log_quotes_a_header(left_as_they_are, way, capfd, tmp_path):
    class Failing(Reader):
        def assess(self, found, males, *, progress):
            raise ValueError(f"{SENSITIVE} {DAY} {SENSITIVE_UID}")

    made = planted(*left_as_they_are)
    with receiver() as archive, dicom_node._quoting_nothing():
        to = NOWHERE if way == "undeliverable" else archive.peer
        reader = Failing() if way == "failing" else Reader()
        with node(to, reader, attempts=1, spool=tmp_path) as ours:
            pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
            send(ours.port, made)
            logging.getLogger("pynetdicom").error(SENSITIVE)
        print(ours.summary())
    out, err = capfd.readouterr()
    assert "radiographs received" in out
    assert " 1: " in err, "there is a log"
    for text in (SENSITIVE, DAY, "1901", SENSITIVE_UID, "010203.998877", "Traceback"):
        assert text not in out + err


STUB = """
import sys, time
from boneage_jax import cli
from boneage_jax.workflows import assess
from tests.serving.peers import Reader

class Slow(Reader):
    def __init__(self, request):
        super().__init__()
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass
    def assess(self, *arguments, **options):
        time.sleep(0.5)
        yield from super().assess(*arguments, **options)

assess.Assessor = Slow
sys.exit(cli.main(sys.argv[1:]))
"""


def started(*arguments):
    """The command with a slow reader, and the port that it listens on."""
    root = pathlib.Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", STUB, "serve", "dicom", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "XLA_FLAGS": LESS_OPTIMISED},
    )
    for line in process.stderr:
        if "listens on" in line:
            return process, int(line.partition(" port ")[2].partition(";")[0])
    raise AssertionError(process.communicate())


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_in_the_middle_of_its_work_it_answers_what_it_accepted(number):
    with receiver() as archive:
        to = f"127.0.0.1:{archive.peer.port}:ARCHIVE"
        process, port = started("--to", to)
        assert send(port, *[radiograph() for _ in range(3)]) == [0x0000] * 3
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert len(archive.got) == 6
    assert process.returncode == 0, err
    assert "3 radiographs received, 3 accepted, 3 of them with an age" in out
    assert "stopping" in err


@pytest.mark.integration
def test_a_second_signal_ends_the_pauses(tmp_path):
    process, port = started("--to", "127.0.0.1:1:NOBODY", "--pause", "50", "--attempts", "3", "--spool", str(tmp_path))
    assert send(port, radiograph()) == [0x0000]
    for line in process.stderr:
        if "attempt 1 of 3 failed" in line:
            break
    process.send_signal(signal.SIGTERM)
    for line in process.stderr:
        if "stopping" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)  # less than a pause
    assert process.returncode == 0
    assert len(list((tmp_path / "undelivered").iterdir())) == 2


def test_while_it_stops_it_takes_nothing_more(log):
    reader = Reader()
    reader.gate.clear()
    with receiver() as archive:
        with node(archive.peer, reader) as ours:
            entity = pynetdicom.AE("CR_ROOM_2")
            made = radiograph()
            entity.add_requested_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)
            association = entity.associate("127.0.0.1", ours.port)
            assert association.send_c_store(made).Status == 0x0000
            stopping = threading.Thread(target=ours.stop)
            stopping.start()
            assert eventually(lambda: any("stopping" in line for line in log.messages))
            assert association.send_c_store(made).Status == 0xA700
            association.release()
            reader.gate.set()
            stopping.join()
            ours.stop = lambda: None
        assert len(archive.got) == 2
    assert "2: refused: this node is stopping" in log.messages


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("--to=archive", "archive"),
        ("--to=archive:0:A", "archive:0:A"),
        ("--to=archive:104:", "archive:104:"),
        ("--aet=A\\B", "A\\\\B"),
        ("--aet=LONGER_THAN_SIXTEEN", "LONGER_THAN_SIXTEEN"),
        ("--allow-ae=,", ","),
        ("--study=(", "("),
        ("--port=70000", "70000"),
        ("--most-megapixels=300", "300"),
    ],
)
def test_options_that_cannot_be_are_refused(option, found, capsys):
    with pytest.raises(SystemExit) as leave:
        cli.main(["serve", "dicom", "--to=127.0.0.1:104:ARCHIVE", option])
    assert leave.value.code == 2
    error = capsys.readouterr().err
    assert f"found '{found}', expected" in error or f"found {found}, expected" in error


def test_peers_are_read():
    assert Peer.parse("archive.example:104:MY ARCHIVE") == Peer("archive.example", 104, "MY ARCHIVE")
    assert Peer.parse("[::1]:11112:A") == Peer("::1", 11112, "A")


def test_the_deflated_bomb_is_one():
    """What the test above sends is small: 30 MB of zeros in less than a thousandth."""
    assert len(zlib.compress(bytes(30_000_000), 9)) < 30_000
