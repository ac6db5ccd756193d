"""Every answer that the application gives, by status."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from punctum.serve.answer_models import Answer, ModelForm
from punctum.serve.app import create_app
from punctum.serve.limits import Limits
from punctum.serve.picture_header import MEDIA_TYPES
from serve.engines import StubEngine
from serve.uploads import claiming, encoded, spot

PNG = {"content-type": "image/png"}


class House:
    """A server with a stub in it."""

    def __init__(self, **limits: Any) -> None:
        self.engine = StubEngine()
        self.app = create_app(self.engine, Limits(**limits), hosts=("testserver",))
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def post(self, content: bytes, kind: str = "image/png", **options: Any) -> Any:
        headers = {"content-type": kind, **options.pop("headers", {})}
        return self.client.post(options.pop("path", "/predict"), content=content, headers=headers, **options)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House(body_bytes=20_000, pixels=10_000, pictures=3, instances=4, seconds=5.0)
    with house.client:
        yield house


def error(response: Any, status: int, said: str) -> None:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert said in response.json()["error"]


# --- what is answered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in MEDIA_TYPES if kind != "image/jpeg"])
def test_a_picture_of_each_kind(house: House, kind: str) -> None:
    response = house.post(encoded(spot(5, 9), kind), kind)
    assert response.status_code == 200
    (picture,) = Answer.model_validate_json(response.text).images
    assert (picture.width, picture.height) == (32, 24)
    point = picture.instances[0].keypoints[0]
    # The stub's cells are 2 px wide.
    assert (point.x, point.y) == (pytest.approx(5, abs=1.5), pytest.approx(9, abs=1.5))


def test_the_kind_is_seen_not_believed(house: House) -> None:
    assert house.post(encoded(spot(), "image/bmp"), "image/jpeg").status_code == 200
    assert house.post(encoded(spot()), "application/octet-stream").status_code == 200


def test_boxes_of_the_address(house: House) -> None:
    path = "/predict?box=0,4,12,10&box=10,0,20,20"
    (picture,) = house.post(encoded(spot(5, 9)), path=path).json()["images"]
    assert [one["box"] for one in picture["instances"]] == [[0, 4, 12, 10], [10, 0, 20, 20]]
    assert picture["instances"][0]["keypoints"][0]["x"] == pytest.approx(5, abs=0.8)


def test_a_form_of_several_pictures_with_boxes(house: House) -> None:
    files = [("images", (f"{x}.png", encoded(spot(x, 9)), "image/png")) for x in (3, 20)]
    response = house.client.post("/predict", files=files, data={"boxes": "[null, [[16, 4, 10, 10], [18, 6, 6, 6]]]"})
    assert response.status_code == 200
    first, second = response.json()["images"]
    assert (first["image"], second["image"]) == ("3.png", "20.png")
    assert [len(first["instances"]), len(second["instances"])] == [1, 2]
    assert second["instances"][1]["keypoints"][0]["x"] == pytest.approx(20, abs=0.5)


def test_a_file_name_is_only_a_name(house: House) -> None:
    name = '../../etc/<script>"é\ud83d\ude00'.encode("utf-16", "surrogatepass").decode("utf-16")
    response = house.client.post("/predict", files=[("images", (name, encoded(spot()), "image/png"))])
    assert response.status_code == 200
    assert response.json()["images"][0]["image"].startswith("../../etc/<script>")
    assert response.headers["content-type"] == "application/json"


# --- what is refused ------------------------------------------------------------------------------------------------


def test_413_of_bytes(house: House) -> None:
    error(house.post(bytes(20_001)), 413, "longer than")

    def lying() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(1000)

    error(house.post(lying()), 413, "longer than")  # type: ignore[arg-type]
    files = [("images", ("a.png", bytes(19_990), "image/png"))]
    error(house.client.post("/predict", files=files), 413, "longer than")


def test_413_of_pixels_before_any_is_decoded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("punctum.serve.decode_request.decode_image", lambda *_: pytest.fail("decoded"))
    error(house.post(claiming(101, 100)), 413, "100 x 101 px are 10,100 pixels; at most 10,000")
    error(house.post(claiming(2**31 - 1, 2**31 - 1)), 413, "pixels")


def test_413_of_pictures_and_boxes(house: House) -> None:
    four = [("images", ("a.png", encoded(spot()), "image/png"))] * 4
    error(house.client.post("/predict", files=four), 413, "Too many files")
    error(house.post(encoded(spot()), path="/predict?" + "box=0,0,9,9&" * 5), 413, "5 boxes; at most 4")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json", "image/gif", "application/x-www-form-urlencoded"]
)
def test_415_of_other_types(house: House, kind: str) -> None:
    error(house.post(encoded(spot()), kind), 415, "content-type")


@pytest.mark.parametrize("content", [b"GIF89a" + bytes(100), b"<svg/>", b"%PDF-1.7", bytes(100)])
def test_415_of_what_is_no_picture(house: House, content: bytes) -> None:
    error(house.post(content), 415, "not a picture of a kind that is served")


def test_422_of_damaged_pictures(house: House) -> None:
    error(house.post(b""), 422, "empty")
    for kind in ("image/png", "image/jpeg", "image/tiff"):
        noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
        error(house.post(encoded(noise, kind)[:600], kind), 422, "image: ")
    error(house.post(encoded(spot())[:20]), 422, "header is damaged")
    floats = np.full((8, 8), 3.0, np.float32)
    error(house.post(encoded(floats, "image/tiff"), "image/tiff"), 422, "[3, 3], not [0, 1]")


def test_422_of_boxes_and_parameters(house: House) -> None:
    good = encoded(spot())
    error(house.post(good, path="/predict?box=0,0,0,0"), 422, "width and height must be positive")
    error(house.post(good, path="/predict?box=100,0,9,9"), 422, "beside the picture")
    error(house.post(good, path="/predict?places=99"), 422, "places: ")
    error(house.post(good, path="/predict?places=2"), 422, "this model tells at most 0")
    error(house.post(good, path="/predict?heatmaps=perhaps"), 422, "heatmaps: ")


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"", "multipart/form-data", "the form cannot be read"),
        (b"junk", "multipart/form-data; boundary=x", "the form"),
        (b"--x\r\nno header\r\n\r\n\r\n--x--\r\n", "multipart/form-data; boundary=x", "the form"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", "no file `images`"),
        (
            b'--x\r\ncontent-disposition: form-data; name="images"\r\n\r\ntext\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            "no file `images`",
        ),
        (
            b'--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\ntext\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            "unknown field 'image'",
        ),
        (
            b"--x\r\ncontent-disposition: form-data\r\n\r\ntext\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
            "form",
        ),
        (b"junk", "multipart/form-data; boundary=x; charset=nonsense", "the form"),
    ],
)
def test_422_of_broken_forms(house: House, content: bytes, kind: str, said: str) -> None:
    error(house.post(content, kind), 422, said)


def test_422_of_a_forms_boxes(house: House) -> None:
    files = [("images", ("a.png", encoded(spot()), "image/png"))]
    error(house.client.post("/predict", files=files, data={"boxes": "[[1]]"}), 422, "boxes[0] is not four numbers")
    error(house.client.post("/predict?box=1,2,3,4", files=files), 422, "a form has a field `boxes`")
    twice = [*files, ("boxes", ("b", b"[]", "text/plain"))]
    error(house.client.post("/predict", files=twice), 422, "boxes is one text field")


def test_500_tells_nothing_of_the_inside_and_harms_nobody(house: House, caplog: pytest.LogCaptureFixture) -> None:
    response = house.post(encoded(np.full((20, 20, 3), 255, np.uint8)))
    error(response, 500, "something went wrong")
    assert "path" not in response.text
    assert "nobody/shall/see" in caplog.text
    assert house.post(encoded(spot())).status_code == 200


# --- too much at once -----------------------------------------------------------------------------------------------


def in_threads(house: House, contents: list[bytes]) -> list[threading.Thread]:
    house.answers = []  # type: ignore[attr-defined]
    threads = [
        threading.Thread(target=lambda data=data: house.answers.append(house.post(data)))  # type: ignore[misc, attr-defined]
        for data in contents
    ]
    for thread in threads:
        thread.start()
    return threads


def until(condition: Any) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.005)


def test_429_while_the_queue_is_full_and_not_longer() -> None:
    house = House(requests=2)
    with house.client:
        house.engine.free.clear()
        threads = in_threads(house, [encoded(spot())] * 2)
        until(lambda: house.app.state.service.admission.inside == 2)
        refused = house.post(encoded(spot()))
        error(refused, 429, "2 requests are waiting")
        assert int(refused.headers["retry-after"]) > 0
        house.engine.free.set()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in house.answers] == [200, 200]  # type: ignore[attr-defined]
        assert house.post(encoded(spot())).status_code == 200


def test_429_of_bytes_held_by_all_together_and_413_of_one_alone() -> None:
    crop = 3 * 4 * 16 * 16
    house = House(held_bytes=2 * crop - 1)
    with house.client:
        error(house.post(encoded(spot()), path="/predict?box=0,0,9,9&box=0,0,9,9"), 413, "more memory")
        house.engine.free.clear()
        threads = in_threads(house, [encoded(spot())])
        until(lambda: house.app.state.service.admission.held == crop)
        error(house.post(encoded(spot())), 429, "too many pictures")
        house.engine.free.set()
        threads[0].join()
        assert house.app.state.service.admission.held == 0


def test_503_of_what_takes_too_long_and_408_of_what_does_not_arrive() -> None:
    house = House(seconds=0.2)

    def slowly() -> Iterator[bytes]:
        yield encoded(spot())
        time.sleep(0.5)

    with house.client:
        house.engine.free.clear()
        late = house.post(encoded(spot()))
        error(late, 503, "no answer within 0.2 s")
        assert int(late.headers["retry-after"]) > 0
        house.engine.free.set()
        assert house.post(encoded(spot())).status_code == 200
        assert house.app.state.service.admission.inside == 0


def test_503_before_the_start_and_after_the_end() -> None:
    house = House()
    error(house.post(encoded(spot())), 503, "not ready")
    assert house.client.get("/health").status_code == 503
    with house.client:
        assert house.client.get("/health").json() == {"status": "ok"}
    error(house.post(encoded(spot())), 503, "not ready")


# --- who may ask ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/predict", "/health", "/page/app.js"])
def test_421_of_another_name(house: House, path: str) -> None:
    error(house.client.get(path, headers={"host": "evil.example"}), 421, "--allow-host")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_403_of_pages_of_other_sites(house: House, site: str) -> None:
    error(house.post(encoded(spot()), headers={"sec-fetch-site": site}), 403, "other sites")
    assert house.post(encoded(spot()), headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_no_other_site_is_let_in_by_cors(house: House) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    response = house.client.options("/predict", headers=asked)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/health", "/nowhere", "/page/style.css"])
def test_every_answer_has_its_headers(house: House, path: str) -> None:
    headers = house.client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_errors_of_addresses_are_json_too(house: House) -> None:
    error(house.client.get("/nowhere"), 404, "Not Found")
    error(house.client.get("/predict"), 405, "Method Not Allowed")
    assert house.client.get("/predict").headers["allow"] == "POST"
    for path in ("/docs", "/redoc", "/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py"):
        error(house.client.get(path), 404, "Not Found")


# --- what it says of itself -----------------------------------------------------------------------------------------


def test_model(house: House) -> None:
    model = ModelForm.model_validate_json(house.client.get("/model").text)
    assert (model.keypoints, model.engine, model.region) == (["brightest"], "stub", "box")
    assert model.limits["pixels"] == 10_000


def test_metrics_count_by_path_and_status() -> None:
    house, other = House(), House()
    with house.client, other.client:
        house.post(encoded(spot()))
        house.post(b"")
        house.client.get("/somewhere/else")
        text = house.client.get("/metrics").text
        assert 'punctum_requests_total{path="/predict",status="200"} 1.0' in text
        assert 'punctum_requests_total{path="/predict",status="422"} 1.0' in text
        assert 'punctum_requests_total{path="other",status="404"} 1.0' in text
        assert "punctum_pictures_total 1.0" in text
        assert "punctum_queue_instances 0.0" in text
        assert "punctum_batch_instances_count 1.0" in text
        assert "process_resident_memory_bytes" in text
        assert 'path="/predict"' not in other.client.get("/metrics").text


def test_the_schema_names_every_status(house: House) -> None:
    schema = json.loads(house.client.get("/openapi.json").text)
    assert set(schema["paths"]) == {"/predict", "/health", "/model", "/metrics"}
    predict = schema["paths"]["/predict"]["post"]
    assert {"200", "403", "408", "413", "415", "421", "422", "429", "500", "503"} <= set(predict["responses"])
    assert set(predict["requestBody"]["content"]) == {*MEDIA_TYPES, "multipart/form-data"}
