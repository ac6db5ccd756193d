"""Files that are given for videos, and are none, or not all of one."""

import pickle
import sys
import tempfile
from pathlib import Path

from corpus.make import HERE, Trap, encoded, picture

sys.path.insert(0, str(HERE.parent))
from films import film
from films import picture as frame

FRAMES = 6


def videos() -> dict[str, bytes]:
    """By name."""
    pictures = [frame(i) for i in range(FRAMES)]
    with tempfile.TemporaryDirectory() as folder:
        whole = film(Path(folder) / "a.mp4", pictures).read_bytes()
        first = film(Path(folder) / "b.mp4", pictures, container={"movflags": "faststart"}).read_bytes()
    return {
        "good.mp4": whole,
        "empty.mp4": b"",
        "text.mp4": b"<!DOCTYPE html><title>404 Not Found</title>\n",
        "pickle.mp4": pickle.dumps(Trap()),
        "truncated.mp4": whole[: len(whole) // 2],
        "cut_off.mp4": first[:-200],
        "picture.mp4": encoded(".jpg", picture()),
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "list.mp4": b"ffconcat version 1.0\nfile good.mp4\n",
        "list_out.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "bomb.y4m": b"YUV4MPEG2 W20000 H20000 F25:1 C420\nFRAME\n" + bytes(100),
        "animated.gif": (HERE / "files" / "pictures" / "animated.gif").read_bytes(),
    }
