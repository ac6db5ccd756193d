"""A request's way: read, decoded and cropped by threads, through the network with others, and into JSON."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import ClientDisconnect, Request

from punctum.serve.admission import Admission, Seat
from punctum.serve.answer import picture_values, to_json
from punctum.serve.batching import Batcher
from punctum.serve.decode_request import decode_upload
from punctum.serve.engine import Crop, Engine, Found, Wanted, make_crop
from punctum.serve.limits import Limits, RequestError
from punctum.serve.metrics import Metrics
from punctum.serve.request_body import Upload, read_uploads
from punctum.serve.request_boxes import check_inside

# Requests that are decoded ahead of the network, in batches: the others wait as bytes, which take less memory.
_AHEAD = 3
# More instances than these would keep everybody else waiting while their JSON is made.
_AT_ONCE = 8


class Service:
    """Everything between a request and its answer.

    Args:
        engine: the model.
        limits: of everything.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine, self.limits = engine, limits
        self.admission = Admission(limits)
        self.metrics = Metrics(self.admission)
        self._batcher: Batcher[Crop, Wanted, Found] = Batcher(engine.run, limits, self.metrics)
        self._readers = ThreadPoolExecutor(limits.readers, thread_name_prefix="reader")
        self._ahead = asyncio.Semaphore(_AHEAD * limits.batch)
        height, width = engine.crop.input_size
        self._crop_bytes = 3 * 4 * height * width

    @property
    def ready(self) -> bool:
        """Whether pictures are taken."""
        return self._batcher.running

    async def start(self) -> None:
        """Take pictures from now on."""
        await self._batcher.start()

    async def stop(self) -> None:
        """Take none any more."""
        await self._batcher.stop()
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)

    async def predict(self, request: Request, boxes: list[str], wanted: Wanted) -> bytes:
        """The answer's JSON.

        Args:
            request: with the pictures.
            boxes: of the address.
            wanted: beside the points.
        Raises:
            RequestError: whatever is wrong with it, or that it takes too long.
        """
        if not self.ready:
            raise RequestError(503, "the server is not ready", retry_after=1)
        arrived = False
        with self.admission.seat() as seat:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    uploads = await read_uploads(request, boxes, self.limits, seat)
                    arrived = True
                    return await self._answer(uploads, wanted, seat)
            except TimeoutError:
                seconds = f"{self.limits.seconds:g} s"
                if not arrived:
                    raise RequestError(408, f"the request did not arrive within {seconds}") from None
                raise RequestError(503, f"no answer within {seconds}: too much to do", retry_after=5) from None
            except asyncio.CancelledError:
                # Told to stop, the server has waited for this one as long as it may.
                raise RequestError(503, "the server is stopping", retry_after=5) from None
            except ClientDisconnect:
                raise RequestError(400, "the request ended before it was whole") from None

    async def _answer(self, uploads: list[Upload], wanted: Wanted, seat: Seat) -> bytes:
        names = [upload.name for upload in uploads]
        async with self._ahead:
            parts = await self._decode(uploads, seat)
            found = await self._batcher.answer([crop for crops in parts for crop in crops], wanted)
        self.metrics.predicted(len(parts))
        if len(found) > _AT_ONCE or wanted.heatmaps:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._readers, _body, names, parts, found)
        return _body(names, parts, found)

    async def _decode(self, uploads: list[Upload], seat: Seat) -> list[list[Crop]]:
        """The crops of each picture, in place of its bytes."""
        loop, sent = asyncio.get_running_loop(), seat.held
        seat.hold(self._crop_bytes * sum(len(upload.boxes) for upload in uploads))
        tasks = [loop.run_in_executor(self._readers, self._crops, upload) for upload in uploads]
        uploads.clear()
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            # One is refused: the others need not be decoded any more.
            for task in tasks:
                task.cancel()
            seat.release(sent)

    def _crops(self, upload: Upload) -> list[Crop]:
        image = decode_upload(upload.data, upload.name, self.limits)
        crops = []
        for box in upload.boxes:
            check_inside(box, image.shape[:2], upload.name)
            try:
                crops.append(make_crop(image, box, self.engine.crop))
            except ValueError as error:
                raise RequestError(422, f"{upload.name}: {error}") from None
        return crops


def _body(names: Sequence[str], parts: Sequence[Sequence[Crop]], found: Sequence[Found]) -> bytes:
    left = iter(found)
    pictures = [
        picture_values(name, crops, [next(left) for _ in crops]) for name, crops in zip(names, parts, strict=True)
    ]
    return to_json({"images": pictures})
