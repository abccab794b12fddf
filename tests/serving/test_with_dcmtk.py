"""The command with real networks, between the programs of dcmtk: an implementation of DICOM of its own."""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")

import boneage_jax as ba  # noqa: E402
from tests.clinical.reports import IDENTITY, radiograph  # noqa: E402
from tests.dicom_files import written  # noqa: E402
from tests.serving.peers import eventually  # noqa: E402

HERE = pathlib.Path(sys.executable).parent
ELSEWHERE = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if pathlib.Path(p) != HERE)
"""Without the programs that pynetdicom installs, which have the names of dcmtk's."""
DCMTK = {
    name: shutil.which(name, path=ELSEWHERE)
    for name in ("storescu", "echoscu", "storescp", "dsrdump", "dcmdump", "dcmcjpeg")
}
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not all(DCMTK.values()), reason="dcmtk is not installed (Debian: dcmtk)"),
]

OPTIMISED = {**os.environ, "XLA_FLAGS": ""}
"""Networks of their real size take minutes in programs that are compiled as those of other tests."""

MONTHS = 120
SENSITIVE = {
    "PatientName": "Qwertz^Sensitive",
    "PatientID": "QZ-99887766",
    "PatientBirthDate": "20160229",
    "StudyDate": "20251224",
    "AccessionNumber": "ACC443322",
    "StudyDescription": "Qwertzhand",
    "InstitutionName": "Qwertzhaus",
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@dataclasses.dataclass
class Desk:
    """A node that runs, and the folder that answers are stored in."""

    process: subprocess.Popen
    port: int
    archive: pathlib.Path
    archive_port: int
    log: pathlib.Path

    answered: int = 0

    def answers(self, count):
        """Those of the next radiograph, once they are delivered, and takes them away."""
        self.answered += 1
        said = f"{count} of {count} objects delivered"
        assert eventually(lambda: self.log.read_text().count(said) >= self.answered, 180), self.log.read_text()
        files = [shutil.move(path, self.archive.parent) for path in self.archive.iterdir()]
        made = {path: pydicom.dcmread(path) for path in files}
        assert len(made) == count
        return {one.Modality: one for one in made.values()}, {one.Modality: path for path, one in made.items()}


@contextlib.contextmanager
def archive(folder, port):
    """The receiver of dcmtk."""
    running = subprocess.Popen(
        [DCMTK["storescp"], "-od", str(folder), "-aet", "ARCHIVE", str(port)], stderr=subprocess.DEVNULL
    )
    try:
        assert eventually(lambda: _listens(port))
        yield
    finally:
        running.terminate()
        running.wait()


def _listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    (folder / "archive").mkdir()
    to, log = free_port(), folder / "log.txt"
    command = [
        *(HERE / "boneage", "serve", "dicom", "--port", "0", "--bundle", "phantom_only"),
        *("--to", f"127.0.0.1:{to}:ARCHIVE", "--allow-ae", "STORESCU,ECHOSCU", "--modality", "DX", "--pause", "0.5"),
        *("--attempts", "100", "--views", "1"),
    ]
    with log.open("w") as stream:
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=stream, text=True, env=OPTIMISED, cwd=folder
        )
    try:
        assert eventually(lambda: "listens on" in log.read_text() or process.poll() is not None, 180)
        port = int(re.search(r"port (\d+);", log.read_text())[1])
        yield Desk(process, port, folder / "archive", to, log)
    finally:
        if process.poll() is None:
            process.kill()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A phantom as DX."""
    grey = ba.phantom(MONTHS, "F", seed=5).image
    made = radiograph(
        pixels=grey.astype(np.uint16) * 16, WindowCenter="2040", WindowWidth="4080", ImageLaterality="R", **SENSITIVE
    )
    path = tmp_path_factory.mktemp("source") / "hand.dcm"
    path.write_bytes(written(made))
    return path


def storescu(port, path, *options):
    return subprocess.run(
        [DCMTK["storescu"], "-v", *options, "-aec", "BONEAGE", "127.0.0.1", str(port), str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_echoscu_is_answered(desk):
    done = subprocess.run([DCMTK["echoscu"], "-aec", "BONEAGE", "127.0.0.1", str(desk.port)], check=False, timeout=60)
    assert done.returncode == 0


def predicted(path):
    """The age that the Python API reads."""
    code = "import sys, boneage_jax as ba; print(ba.load('phantom_only', views=1).predict(sys.argv[1]).months)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=OPTIMISED, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def test_a_phantom_goes_in_and_report_and_picture_come_out(desk, source, tmp_path):
    with archive(desk.archive, desk.archive_port):
        done = storescu(desk.port, source)
        assert done.returncode == 0, done.stderr
        assert "Received Store Response (Success)" in done.stderr
        made, files = desk.answers(2)
    for one in made.values():
        assert one.StudyInstanceUID == IDENTITY["StudyInstanceUID"]
        assert (one.PatientName, one.PatientID) == (SENSITIVE["PatientName"], SENSITIVE["PatientID"])
    dumped = subprocess.run([DCMTK["dsrdump"], files["SR"]], capture_output=True, text=True, check=False)
    assert dumped.returncode == 0
    assert dumped.stderr == ""
    age = float(re.search(r'"XR Bone age"\)="([\d.]+)" \(mo,', dumped.stdout)[1])
    assert abs(age - predicted(source)) < 0.05
    assert abs(age - MONTHS) < 24
    references = subprocess.run([DCMTK["dcmdump"], files["SR"]], capture_output=True, text=True, check=True).stdout
    assert f"[{IDENTITY['SOPInstanceUID']}]" in references
    assert made["OT"].SourceImageSequence[0].ReferencedSOPInstanceUID == IDENTITY["SOPInstanceUID"]
    assert made["OT"].pixel_array.shape == (1024, 1280, 3)
    assert made["OT"].Laterality == "R"


def test_compressed_ones_are_read_too(desk, source, tmp_path):
    compressed = tmp_path / "compressed.dcm"
    subprocess.run([DCMTK["dcmcjpeg"], "+e1", str(source), str(compressed)], check=True)
    assert pydicom.dcmread(compressed).file_meta.TransferSyntaxUID.is_compressed
    with archive(desk.archive, desk.archive_port):
        assert storescu(desk.port, compressed, "-xs").returncode == 0
        desk.answers(2)


def test_what_is_not_selected_is_taken_and_not_answered(desk, tmp_path):
    path = tmp_path / "cr.dcm"
    path.write_bytes(written(radiograph(Modality="CR")))
    assert "Received Store Response (Success)" in storescu(desk.port, path).stderr
    assert eventually(lambda: "not read: Modality is another" in desk.log.read_text())


def test_strangers_are_refused(desk, source):
    done = storescu(desk.port, source, "-aet", "STRANGER")
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stderr


def test_damaged_pixels_do_not_end_it_and_a_receiver_that_was_down_gets_its_answer(desk, source, tmp_path):
    damaged = tmp_path / "damaged.dcm"
    subprocess.run([DCMTK["dcmcjpeg"], "+e1", str(source), str(damaged)], check=True)
    data = bytearray(damaged.read_bytes())
    data[-60_000:-1000] = np.random.default_rng(0).bytes(59_000)
    damaged.write_bytes(data)
    assert "Received Store Response (Success)" in storescu(desk.port, damaged, "-xs").stderr
    assert storescu(desk.port, source).returncode == 0
    assert eventually(lambda: re.search(r"attempt \d+ of 100 failed", desk.log.read_text()), 180)
    with archive(desk.archive, desk.archive_port):
        desk.answers(2)
    assert "no answer: the pixels cannot be decoded" in desk.log.read_text()


def test_told_to_stop_it_answers_what_it_accepted_and_its_log_quotes_nothing(desk, source):
    with archive(desk.archive, desk.archive_port):
        assert storescu(desk.port, source).returncode == 0
        desk.process.send_signal(signal.SIGTERM)
        desk.answers(2)
        out, _ = desk.process.communicate(timeout=120)
    assert desk.process.returncode == 0
    assert " 0 lost" in out
    assert ba.NOT_A_MEDICAL_DEVICE in out
    said = out + desk.log.read_text()
    assert "stopping" in said
    for text in (*SENSITIVE.values(), "Qwertz", *IDENTITY.values(), "Traceback"):
        assert text not in said
