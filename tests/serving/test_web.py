"""`boneage serve http` without networks: forms, problems, limits, who may use it, what is said and kept."""

import concurrent.futures
import io
import json
import logging
import re
import stat
import zipfile

import numpy as np
import pytest

for package in ("starlette", "httpx2", "prometheus_client", "python_multipart", "uvicorn", "pydicom", "jsonschema"):
    pytest.importorskip(package)

import jsonschema  # noqa: E402

from boneage_jax import NOT_A_MEDICAL_DEVICE, cli  # noqa: E402
from boneage_jax.data import images  # noqa: E402
from boneage_jax.errors import UserError  # noqa: E402
from boneage_jax.serving.web import problems, server, uploads  # noqa: E402
from boneage_jax.serving.web.request import TOKEN_VARIABLE, HttpRequest  # noqa: E402
from boneage_jax.workflows import radiographs  # noqa: E402
from tests.dicom_files import dataset, written  # noqa: E402
from tests.serving.web_servers import ASSESSMENTS, Reader, client, eventually, form, grey, png  # noqa: E402

TOKEN = "0123456789abcdef"
MULTIPART = {"content-type": "multipart/form-data; boundary=XX"}
PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

WINDOW = {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"}


def dcm(level, **attributes):
    return written(dataset(grey(level).astype(np.uint16), **WINDOW, **attributes))


@pytest.fixture(scope="module")
def ours():
    with client() as made:
        yield made


def post(ours, *files, headers=None, **fields):
    return ours.post(
        ASSESSMENTS, content=form(*files, **fields), headers={**MULTIPART, "accept": "*/*", **(headers or {})}
    )


def problem_of(response, kind):
    """The document of a problem of this kind, which has all that RFC 9457 and this server promise."""
    assert response.headers["content-type"] == problems.MEDIA_TYPE
    assert response.status_code == kind.status
    document = response.json()
    assert (document["type"], document["title"], document["status"]) == (kind.type, kind.title, kind.status)
    assert document["detail"].endswith(".")
    jsonschema.validate(document, schema_of("Problem"))
    assert "Traceback" not in response.text
    return document


def schema_of(name):
    from boneage_jax.serving.web import openapi

    whole = openapi.document(with_token=False)
    return {"$ref": f"#/components/schemas/{name}", "components": whole["components"]}


# ---- answers ---------------------------------------------------------------------------------------------------------


def test_a_form_of_a_program_is_answered_by_the_record(ours):
    """The body is that of another library, not of these tests."""
    response = ours.post(
        ASSESSMENTS, files={"file": ("folder/Jörg.png", png(100))}, data={"sex": "M", "chronological_age": "96.5"}
    )
    assert response.status_code == 200
    document = response.json()
    assert document["notice"] == NOT_A_MEDICAL_DEVICE
    assert document["remarks"] == ["Images of tests: no terms."]
    (one,) = document["radiographs"]
    assert (one["file"], one["status"], one["sex"]) == ("Jörg.png", "read", "M")
    assert one["bone_age"]["months"] == 110.0
    assert one["chronological_age"] == {"months": 96.5, "source": "as given"}
    # The Brush Foundation's standard deviation of boys is 9.10 months at 96 months, 9.00 at 108.
    assert one["sd_score"]["value"] == pytest.approx(13.5 / 9.096, abs=0.01)


def test_years_and_months_add_up_and_each_request_has_its_own(ours):
    def age(**fields):
        (one,) = post(ours, ("a.png", png(100)), sex="F", **fields).json()["radiographs"]
        return one["chronological_age"] and one["chronological_age"]["months"]

    assert age(chronological_years="8", chronological_age="3") == 99
    assert age(chronological_years="8.5") == 102
    assert age(chronological_age="99") == 99
    assert age(chronological_years="", chronological_age="") is None
    assert age() is None


def test_a_header_states_sex_and_age(ours):
    child = dcm(50, PatientSex="M", PatientBirthDate="20180101", StudyDate="20260101")
    (one,) = post(ours, ("child", child)).json()["radiographs"]
    assert (one["sex"], one["bone_age"]["months"]) == ("M", 60.0)
    assert one["chronological_age"]["months"] == pytest.approx(96, abs=0.1)
    (given,) = post(ours, ("child", child), sex="M", chronological_age="120").json()["radiographs"]
    assert given["chronological_age"]["months"] == 120
    contradicted = problem_of(post(ours, ("child", child), sex="F"), problems.UNUSABLE)
    assert "PatientSex is M, F was given" in contradicted["found"]


def test_several_files_are_answered_in_order_and_one_that_is_damaged_costs_the_others_nothing(ours):
    files = [(f"{level}.png", png(level)) for level in (30, 60, 90, 120, 150)]
    files[2] = ("cut.png", png(90)[:-20])
    response = post(ours, *files, sex="F")
    assert response.status_code == 200
    found = response.json()["radiographs"]
    assert [one["file"] for one in found] == ["30.png", "60.png", "cut.png", "120.png", "150.png"]
    assert [one["bone_age"] and one["bone_age"]["months"] for one in found] == [30, 60, None, 120, 150]
    assert (found[2]["status"], found[2]["problem"]) == ("unusable", "the PNG is truncated")


def test_a_browser_without_script_gets_a_page_for_its_form(ours):
    response = post(ours, ("<b>a&b.png", png(100)), headers=PAGE, sex="F", chronological_age="90")
    assert response.headers["content-type"].startswith("text/html")
    for shown in (NOT_A_MEDICAL_DEVICE, "Images of tests: no terms.", "8 years 4 months", "100.0 months", "SD score"):
        assert shown in response.text
    assert "&lt;b&gt;a&amp;b.png" in response.text
    assert "<b>a&b" not in response.text
    refused = post(ours, ("a.png", png(100)), headers=PAGE)
    assert (refused.status_code, refused.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "the child&#x27;s sex, which is not given" in refused.text


def test_radiographs_that_wait_are_read_together_and_come_out_the_same():
    reader = Reader()
    with client(reader, batch_size=4) as ours:
        alone = {level: post(ours, ("a.png", png(level)), sex="F").json()["radiographs"][0] for level in range(20, 30)}
        with concurrent.futures.ThreadPoolExecutor(10) as pool, reader.holding():
            asked = {}
            for level in range(20, 30):
                asked[level] = pool.submit(post, ours, ("a.png", png(level)), sex="F")
                eventually(lambda: reader.calls == [1])
            eventually(lambda: ours.worker.length == 9)
            reader.held.set()
            together = {level: answer.result().json()["radiographs"][0] for level, answer in asked.items()}
    assert reader.calls == [1, 4, 4, 1]
    assert together == alone


def test_a_radiograph_that_the_networks_fail_on_costs_its_batch_nothing(caplog):
    reader = Reader(fails_on="bad.png")
    with client(reader, batch_size=4) as ours:
        with concurrent.futures.ThreadPoolExecutor(4) as pool, reader.holding():
            names = ("first.png", "bad.png", "good.png", "better.png")
            asked = []
            for n, name in enumerate(names):
                asked.append(pool.submit(post, ours, (name, png(50)), sex="F"))
                eventually(lambda n=n: reader.calls == [1] and ours.worker.length == n)
            reader.held.set()
            answers = [answer.result() for answer in asked]
        assert [answer.status_code for answer in answers] == [200, 500, 200, 200]
        assert "secret" not in answers[1].text
        problem_of(answers[1], problems.INTERNAL)
        assert post(ours, ("next.png", png(50)), sex="F").status_code == 200
    assert "secret" not in caplog.text


# ---- malformed -------------------------------------------------------------------------------------------------------


def zipped():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.png", png(9))
    return made.getvalue()


PICTURE = ("a.png", png(60))

MALFORMED = {
    "no form": (b"{}", {"content-type": "application/json"}, problems.NO_IMAGE, "application/json"),
    "no type": (b"abc", {}, problems.NO_IMAGE, "no Content-Type"),
    "no boundary": (b"abc", {"content-type": "multipart/form-data"}, problems.MALFORMED, ""),
    "long boundary": (b"a", {"content-type": "multipart/form-data; boundary=" + 5000 * "x"}, problems.MALFORMED, ""),
    "other boundary": (form(PICTURE, boundary=b"YY"), MULTIPART, problems.MALFORMED, ""),
    "cut": (form(PICTURE, sex="F")[:-40], MULTIPART, problems.MALFORMED, "a part"),
    "empty": (b"", MULTIPART, problems.MALFORMED, ""),
    "no file": (form(sex="F"), MULTIPART, problems.MALFORMED, ""),
    "empty file": (form(("a.png", b""), sex="F"), MULTIPART, problems.NO_IMAGE, "an empty file"),
    "unnamed empty file": (form(("", b""), sex="F"), MULTIPART, problems.MALFORMED, ""),
    "zip": (form(("a.png", zipped()), sex="F"), MULTIPART, problems.NO_IMAGE, "a zip"),
    "text": (form(("a.png", b"hello"), sex="F"), MULTIPART, problems.NO_IMAGE, "another kind"),
    "page": (form(("a.png", b"<html>"), sex="F"), MULTIPART, problems.NO_IMAGE, "HTML"),
    "truncated": (form(("a.png", png(60)[:-20]), sex="F"), MULTIPART, problems.UNUSABLE, "the PNG is truncated"),
    "no pixels": (form(("a", written(dataset(PixelData=None))), sex="F"), MULTIPART, problems.UNUSABLE, "no image"),
    "strip": (
        form(("a.png", images.encode(np.zeros((1, 900), np.uint8), "png")), sex="F"),
        *(MULTIPART, problems.UNUSABLE, "900 x 1 pixels"),
    ),
    "bomb": (
        form(
            ("a.bmp", b"BM" + bytes(12) + b"\x28\0\0\0" + b"\xa0\x86\x01\0" * 2 + b"\x01\0\x18\0" + bytes(24)), sex="F"
        ),
        *(MULTIPART, problems.UNUSABLE, "100000 x 100000 pixels"),
    ),
    "no sex": (form(PICTURE), MULTIPART, problems.MALFORMED, "no sex"),
    "other sex": (form(PICTURE, sex="X"), MULTIPART, problems.MALFORMED, "'X'"),
    "number as sex": (form(PICTURE, sex="1"), MULTIPART, problems.MALFORMED, "'1'"),
    "word as age": (form(PICTURE, sex="F", chronological_age="ten"), MULTIPART, problems.MALFORMED, "'ten'"),
    "NaN as age": (form(PICTURE, sex="F", chronological_age="nan"), MULTIPART, problems.MALFORMED, "'nan'"),
    "old": (form(PICTURE, sex="F", chronological_years="131"), MULTIPART, problems.MALFORMED, "'131'"),
    "negative": (
        form(PICTURE, sex="F", chronological_years="9", chronological_age="-3"),
        *(MULTIPART, problems.MALFORMED, "'-3'"),
    ),
    "unknown field": (form(PICTURE, sex="F", age="9"), MULTIPART, problems.MALFORMED, "'age'"),
    "twice": (form(sex="F")[:-8] + form(PICTURE, sex="M"), MULTIPART, problems.MALFORMED, "sex"),
    "long field": (form(PICTURE, sex=300 * "F"), MULTIPART, problems.MALFORMED, "sex"),
    "file elsewhere": (
        form(PICTURE).replace(b'name="file"', b'name="image"'),
        *(MULTIPART, problems.MALFORMED, "'image'"),
    ),
    "nameless field": (form(PICTURE).replace(b'name="file"; ', b""), MULTIPART, problems.MALFORMED, ""),
    "file without name": (
        form(PICTURE).replace(b'; filename="a.png"', b""),
        *(MULTIPART, problems.MALFORMED, "without filename="),
    ),
    "many files": (form(*[PICTURE] * (uploads.MOST_FILES + 1), sex="F"), MULTIPART, problems.MALFORMED, ""),
    "many parts": (form(*[("", b"")] * 200, sex="F"), MULTIPART, problems.MALFORMED, ""),
    "long header": (
        form(PICTURE).replace(b"a.png", 100_000 * b"a"),
        *(MULTIPART, problems.MALFORMED, ""),
    ),
}


@pytest.mark.parametrize("fault", list(MALFORMED))
def test_what_is_malformed_is_refused_with_a_reason(ours, fault):
    body, headers, kind, found = MALFORMED[fault]
    document = problem_of(ours.post(ASSESSMENTS, content=body, headers=headers), kind)
    assert found in document["found"]
    assert document["advice"]
    assert document["found"] or document["expected"]


def test_other_addresses_and_methods_are_problems_too(ours):
    problem_of(ours.get("/elsewhere"), problems.NOT_FOUND)
    problem_of(ours.get("/api/v1/assessments/"), problems.NOT_FOUND)
    wrong = ours.put(ASSESSMENTS)
    problem_of(wrong, problems.WRONG_METHOD)
    assert wrong.headers["allow"] == "POST"
    listed = ours.get("/problems", headers=PAGE).text
    assert all(f'id="{kind.name}"' in listed for kind in problems.KINDS)


def test_a_request_that_is_too_large_is_refused_by_what_it_states_and_by_what_it_has():
    with client(max_mebibytes=1) as ours:
        large = form(("a.png", png(60) + bytes(1 << 20)), sex="F")
        stated = problem_of(ours.post(ASSESSMENTS, content=large, headers=MULTIPART), problems.TOO_LARGE)
        assert (stated["found"], stated["expected"]) == ("1.0 MiB", "at most 1 MiB, with all files")
        unstated = ours.post(ASSESSMENTS, content=iter([large[: 1 << 19], large[1 << 19 :]]), headers=MULTIPART)
        assert problem_of(unstated, problems.TOO_LARGE)["found"] == "more than that"
        small = form(("a.png", png(60) + bytes((1 << 20) - 2000)), sex="F")
        assert ours.post(ASSESSMENTS, content=small, headers=MULTIPART).status_code == 200


# ---- how much at once ------------------------------------------------------------------------------------------------


def test_requests_beyond_the_queue_are_told_when_to_come_again():
    reader = Reader()
    with client(reader, queue=3) as ours, concurrent.futures.ThreadPoolExecutor(3) as pool, reader.holding():
        asked = [pool.submit(post, ours, PICTURE, sex="F") for _ in range(3)]
        eventually(lambda: "boneage_requests_taken 3.0" in ours.get("/metrics").text)
        refused = post(ours, PICTURE, sex="F")
        problem_of(refused, problems.BUSY)
        assert int(refused.headers["retry-after"]) >= 1
        reader.held.set()
        assert [answer.result().status_code for answer in asked] == [200, 200, 200]
        assert post(ours, PICTURE, sex="F").status_code == 200


def test_a_request_whose_turn_does_not_come_in_time_is_refused_and_not_read():
    reader = Reader(batch_size=1)
    with (
        client(reader, batch_size=1, time_out=1.0) as ours,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
        reader.holding(),
    ):
        began = pool.submit(post, ours, PICTURE, sex="F")
        eventually(lambda: reader.calls == [1])
        waits = pool.submit(post, ours, PICTURE, sex="F")
        assert problem_of(began.result(), problems.TIME_OUT)
        late = waits.result()
        problem_of(late, problems.BUSY)
        assert int(late.headers["retry-after"]) >= 1
        reader.held.set()
        eventually(lambda: ours.worker.length == 0)
    assert reader.calls == [1]


def test_health_waits_for_the_first_reading():
    reader = Reader()
    reader.held.clear()
    with client(reader, started=False) as ours:
        assert (ours.get("/health").status_code, ours.get("/health").json()) == (503, {"status": "starting"})
        ours.worker.start(server.first_batches(4), lambda error: None)
        assert ours.get("/health").status_code == 503
        reader.held.set()
        eventually(lambda: ours.get("/health").status_code == 200)
        assert reader.calls == [1, 4]  # each size that the networks compile
        assert ours.get("/health").json() == {"status": "ready"}
        ours.application.stopping = True
        assert (ours.get("/health").status_code, ours.get("/health").json()) == (503, {"status": "stopping"})
        problem_of(post(ours, PICTURE, sex="F"), problems.BUSY)


# ---- who may use it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000", "192.168.1.9", "bones.example"]
)
def test_names_of_the_server(host):
    with client(started=False, allow_hosts=("bones.example",)) as ours:
        assert ours.get("/problems", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8000", "127.0.0.1.evil.example", "127.0.0.1@evil"]
)
def test_a_name_that_another_lets_point_here_is_refused(host):
    with client(started=False) as ours:
        problem_of(ours.get("/", headers={"host": host}), problems.OTHER_HOST)
        problem_of(ours.get("/health", headers={"host": host}), problems.OTHER_HOST)


@pytest.mark.parametrize("host", ["", "localhost:x", "[::1", "[localhost]", "[::1]8"])
def test_a_malformed_name_is_refused(host):
    with client(started=False) as ours:
        problem_of(ours.get("/", headers={"host": host}), problems.MALFORMED)


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://127.0.0.1:8001"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8000"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
def test_posts_come_from_its_own_page_or_a_program(ours, headers, is_own):
    response = post(ours, PICTURE, headers=headers, sex="F")
    if is_own:
        assert response.status_code == 200
    else:
        problem_of(response, problems.CROSS_SITE)
    assert ours.get("/", headers=headers).status_code == 200


def test_a_token_is_asked_for_and_a_login_gives_a_cookie_that_is_not_the_token():
    with client(token=TOKEN) as ours:
        problem_of(post(ours, PICTURE, sex="F"), problems.UNAUTHORISED)
        assert post(ours, PICTURE, sex="F").headers["www-authenticate"] == "Bearer"
        for wrong in (TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "", "ä"):
            bearer = {"authorization": f"Bearer {wrong}".encode()}
            assert post(ours, PICTURE, headers=bearer, sex="F").status_code == 401
        right = {"authorization": f"Bearer {TOKEN}"}
        assert post(ours, PICTURE, headers=right, sex="F").status_code == 200
        assert [ours.get(path).status_code for path in ("/metrics", "/openapi.json", "/problems", "/health")] == [
            *(401, 401, 401, 200)
        ]
        asked = ours.get("/", headers=PAGE)
        assert (asked.status_code, 'type="password"' in asked.text) == (401, True)
        failed = ours.post("/login", data={"token": "wrong"})
        assert (failed.status_code, failed.headers.get("set-cookie")) == (401, None)
        cross = ours.post("/login", data={"token": TOKEN}, headers={"sec-fetch-site": "cross-site"})
        assert cross.status_code == 403
        done = ours.post("/login", data={"token": TOKEN}, follow_redirects=False)
        assert (done.status_code, done.headers["location"]) == (303, "/")
        cookie = done.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert ours.get("/", headers=PAGE).status_code == 200
        assert post(ours, PICTURE, sex="F").status_code == 200
        ours.cookies.clear()
        assert post(ours, PICTURE, headers={"cookie": "boneage_session="}, sex="F").status_code == 401
        assert ours.post("/login", content=b"token=" + 5000 * b"x").status_code == 413


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "0.0.0.0"}, "no token was given"),
        ({"host": "192.168.1.9"}, "no token was given"),
        ({"host": "::"}, "no token was given"),
        ({"token": "short"}, "found 5 characters"),
        ({"token": "0123456789 abcdef"}, "without spaces"),
        ({"host": "0.0.0.0", "token": 16 * "ä"}, "ASCII"),
    ],
)
def test_a_server_for_others_needs_a_token_that_cannot_be_guessed(options, why, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(UserError, match=why):
        HttpRequest(**options).secret()


def test_the_token_may_stand_in_the_environment(monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert HttpRequest(host="0.0.0.0").secret() == TOKEN
    assert HttpRequest(token="another-token-of-mine").secret() == "another-token-of-mine"
    monkeypatch.delenv(TOKEN_VARIABLE)
    assert [HttpRequest(host=host).secret() for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9")] == [""] * 4


# ---- what is said and kept -------------------------------------------------------------------------------------------


def test_pages_may_use_their_own_script_and_styles_alone(ours):
    for response in (ours.get("/", headers=PAGE), post(ours, PICTURE, headers=PAGE, sex="F")):
        policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        (nonce,) = re.fullmatch(r"'nonce-([\w-]{20,})'", policy["script-src"]).groups()
        assert policy["style-src"] == f"'nonce-{nonce}'"
        assert set(re.findall(r"<(?:style|script)([^>]*)>", response.text)) == {f' nonce="{nonce}"'}
        assert not re.search(r"<[^>]*\son\w+=", response.text)
        assert not re.search(r"(?:src|href|action)=\"(?!data:|/)", response.text)
        assert NOT_A_MEDICAL_DEVICE in response.text
        assert "Images of tests: no terms." in response.text
    nonces = {ours.get("/", headers=PAGE).headers["content-security-policy"] for _ in range(3)}
    assert len(nonces) == 3


def test_every_response_has_the_headers_that_protect_it(ours):
    for response in (ours.get("/health"), ours.get("/elsewhere"), ours.get("/"), ours.get("/metrics")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in response.headers["content-security-policy"]


def test_logs_have_numbers_and_no_names(caplog):
    caplog.set_level(logging.DEBUG)
    with client(token=TOKEN, headers={"authorization": f"Bearer {TOKEN}"}) as ours:
        child = dcm(50, PatientSex="M", PatientName="Doe^Anna", PatientID="4711")
        post(ours, ("Anna Doe.dcm", child))
        post(ours, ("Anna Doe.png", png(60)[:-20]), sex="F")
        ours.get("/Anna%20Doe?name=Anna")
        ours.request("ANNA", "/")
    said = [record for record in caplog.records if record.name.startswith("boneage_jax")]
    assert any(re.fullmatch(r"1: POST /api/v1/assessments 200, [\d.]+ s", record.getMessage()) for record in said)
    for secret in ("Anna", "ANNA", "Doe", "4711", TOKEN):
        assert not any(secret in record.getMessage() for record in said)


def test_metrics_count_by_route_and_status(ours):
    with client() as ours:
        post(ours, PICTURE, ("b.png", png(9)), sex="F")
        post(ours, ("a.png", b"nothing"), sex="F")
        ours.get("/elsewhere/1")
        ours.get("/elsewhere/2")
        text = ours.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    counted = 'boneage_http_requests_total{method="%s",route="%s",status="%s"}'
    assert lines[counted % ("POST", ASSESSMENTS, 200)] == "1.0"
    assert lines[counted % ("POST", ASSESSMENTS, 415)] == "1.0"
    assert lines[counted % ("GET", "other", 404)] == "2.0"
    assert lines['boneage_refused_total{kind="no-image"}'] == "1.0"
    assert lines['boneage_radiographs_total{status="read"}'] == "2.0"
    assert lines['boneage_http_request_seconds_count{route="/api/v1/assessments"}'] == "2.0"
    assert lines["boneage_queue_length"] == "0.0"
    assert lines["boneage_ready"] == "1.0"
    sent = len(form(PICTURE, ("b.png", png(9)), sex="F")) + len(form(("a.png", b"nothing"), sex="F"))
    assert float(lines["boneage_upload_bytes_total"]) == sent


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with client() as ours:
        post(ours, ("a.png", png(60, (2000, 1500)) + bytes(3 << 20)), headers=PAGE, sex="F")
    assert list(tmp_path.rglob("*")) == []
    with client(keep=tmp_path / "kept") as ours:
        answered = post(ours, PICTURE, sex="F")
        assert "keeps the result" in ours.get("/", headers=PAGE).text
    document, page = sorted((tmp_path / "kept").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (document.suffix, page.suffix) == (".json", ".html")
    assert json.loads(document.read_text()) == answered.json()
    assert "5 years" in page.read_text()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (document, page)} == {0o600}


def test_a_result_that_cannot_be_kept_is_not_passed_off_as_kept(tmp_path):
    (tmp_path / "kept").write_text("a file, no folder")
    with client(keep=tmp_path / "kept") as ours:
        assert str(tmp_path) not in problem_of(post(ours, PICTURE, sex="F"), problems.NOT_KEPT)["detail"]


# ---- the description -------------------------------------------------------------------------------------------------


def test_the_description_is_openapi_and_answers_are_as_it_says(ours):
    openapi_spec_validator = pytest.importorskip("openapi_spec_validator")
    description = ours.get("/openapi.json").json()
    openapi_spec_validator.validate(description)
    with client(started=False, token=TOKEN) as other:
        secured = other.get("/openapi.json", headers={"authorization": f"Bearer {TOKEN}"}).json()
    openapi_spec_validator.validate(secured)
    assert secured["security"] == [{"token": []}]
    child = dcm(50, PatientSex="F", PatientAge="008Y", Modality="DX", PixelSpacing=[0.14, 0.14], ImageLaterality="L")
    answers = post(ours, PICTURE, ("cut.png", png(9)[:-20]), ("child.dcm", child), sex="F").json()
    assert len(answers["radiographs"]) == 3
    jsonschema.validate(answers, schema_of("Assessments"))
    del answers["radiographs"][0]["flags"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answers, schema_of("Assessments"))


def test_every_kind_of_problem_is_documented(ours):
    description = ours.get("/openapi.json").json()
    documented = description["paths"][ASSESSMENTS]["post"]["responses"]
    elsewhere = {problems.NOT_FOUND, problems.WRONG_METHOD}
    assert set(documented) - {"200"} == {str(kind.status) for kind in set(problems.KINDS) - elsewhere}
    assert len({kind.status for kind in problems.KINDS}) == len({kind.name for kind in problems.KINDS})


def test_full_records_are_as_the_description_says():
    """Of all fields that an assessment can have, which the test's reader does not fill."""
    from boneage_jax.data.dicom_header import Stated
    from boneage_jax.workflows import record
    from boneage_jax.workflows.assessment import Assessment, Interval, NetworkAge

    full = Assessment(
        *("a.png", 100.0, 4.0, "F"),
        flags=("cut off",),
        intervals=(Interval(0.9, 90.0, 110.0),),
        turned=90,
        stated=Stated(False, 96.0, "dates", "L", 0.14, "PixelSpacing", "HAND", "DX"),
        chronological_months=96.0,
        chronological_source="dates",
        sd_score=0.4,
        networks=(NetworkAge("whole", 99.0, 4.0), NetworkAge("A", 101.0, np.nan)),
        hand_mm=150.0,
    )
    refused = Assessment("b.png", np.nan, np.nan, "", ("no hand",), refused=("no hand",))
    jsonschema.validate(record.document([full, refused], networks=["n"], remarks=[]), schema_of("Assessments"))


# ---- start and command -----------------------------------------------------------------------------------------------


def test_a_port_in_use_is_one_clear_message(capsys):
    with server.listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1 port {port} .*in use.*choose another --port"):
            server.listening("127.0.0.1", port).__enter__()
        assert cli.main(["serve", "http", "--port", str(port)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "in use" in said.err


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.9"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(UserError, match=rf"cannot listen on {re.escape(host)}"):
        server.listening(host, 0).__enter__()


def test_networks_that_cannot_read_end_the_server(monkeypatch):
    class Broken(Reader):
        def assess(self, found, males, **options):
            raise UserError("these networks cannot be used")

    stop = server.Stop()
    with server.listening("127.0.0.1", 0) as listener, pytest.raises(UserError, match="cannot be used"):
        server.serve(HttpRequest(port=0), Broken(), listener, stop)


def test_the_content_of_a_file_is_a_radiograph():
    for data, states_sex in ((png(50), False), (dcm(50), True), (b"nothing", False)):
        one = radiographs.of_bytes(data, "name")
        assert (one.name, one.states_sex, one.readable) == ("name", states_sex, True)
    assert radiographs.read(radiographs.of_bytes(png(50), "a")).image.mean() == 50
    assert "not a readable" in radiographs.read(radiographs.of_bytes(b"nothing", "a")).problem
