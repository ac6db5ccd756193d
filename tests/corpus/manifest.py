"""Bad and hostile input, a row each: what is given to which verbs, and what the one message must say.

A row's file stands in `files/`, or is made by the function of that name in make.py: `made.big_png()` for "big.png".
"""

from dataclasses import dataclass

FINE: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One row.

    Args:
        kind: the folder of `files/`, and how the file is handed over: test_corpus.py says it for each.
        file: its name.
        verbs: of punctum, each with that file.
        words: all of which stand in the message; FINE: there is none, the verb does its work.
    """

    kind: str
    file: str
    verbs: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """For the test."""
        return f"{self.kind}-{self.file}"


def rows(kind: str, verbs: str, table: dict[str, tuple[str, ...]]) -> list[Case]:
    """Cases of one kind for the same verbs."""
    return [Case(kind, file, tuple(verbs.split()), words) for file, words in table.items()]


PICTURES = rows("pictures", "predict check", {
    "empty.png": ("empty.png", "the file is empty"),
    "truncated.png": ("truncated.png", "not an image, or a damaged or truncated one"),
    "truncated.jpg": ("truncated.jpg", "truncated"),
    "text.png": ("text.png", "not an image"),
    "header_only.png": ("header_only.png", "not an image"),
    "pickle.png": ("pickle.png", "not an image"),
    "bomb.png": ("bomb.png", "60,000 x 60,000 px", "PUNCTUM_MAX_PIXELS"),
    "bomb.jpg": ("bomb.jpg", "65,500 x 65,500 px", "PUNCTUM_MAX_PIXELS"),
    "bomb.tif": ("bomb.tif", "100,000 x 100,000 px", "PUNCTUM_MAX_PIXELS"),
    "bomb.bmp": ("bomb.bmp", "100,000 x 100,000 px", "PUNCTUM_MAX_PIXELS"),
    "bomb.ppm": ("bomb.ppm", "100,000 x 100,000 px", "PUNCTUM_MAX_PIXELS"),
    "jpeg_named.png": FINE,
    "one_pixel.png": FINE,
    "one_column.png": FINE,
    "cmyk.jpg": FINE,
    "palette.png": FINE,
    "transparent.png": FINE,
    "one_bit.png": FINE,
    "sixteen_bits.png": FINE,
    "animated.gif": FINE,
    "animated.webp": FINE,
    "animated.png": FINE,
    "wide.png": FINE,
    "upside_down.jpg": FINE,
    "nan.tif": ("nan.tif", "not finite"),
    "bright.tif": ("bright.tif", "not [0, 1]", "percentile"),
    "signed.tif": ("signed.tif", "int16 pixels", "convert"),
    "volume.npy": ("volume.npy", "image"),
    "folder.png": ("folder.png",),
    "loop.png": ("loop.png",),
})  # fmt: skip

# `predict` takes a GIF for a video.
PICTURES += rows("pictures", "check", {"bomb.gif": ("bomb.gif", "65,535 x 65,535 px", "PUNCTUM_MAX_PIXELS")})
PICTURES += rows("pictures", "predict", {"bomb.gif": ("bomb.gif", "cannot be decoded")})

VOLUMES = rows("volumes", "predict", {
    "empty.npy": ("empty.npy", "the file is empty"),
    "pickle.npy": ("pickle.npy", "Python objects, which are not read"),
    "pickle.npz": ("pickle.npz", "Python objects, which are not read"),
    "lying.npy": ("lying.npy",),
    "truncated.npz": ("truncated.npz", "damaged"),
    "encrypted.npz": ("encrypted.npz", "damaged"),
    "bomb.npz": ("bomb.npz", "unpacks to", "PUNCTUM_MAX_PIXELS"),
    "no_array.npz": ("no_array.npz", "its entry 'volume' is no NumPy array"),
    "no_volume.npz": ("no_volume.npz", "it has no entry 'volume'"),
    "flat.npy": ("flat.npy", "(D, H, W)"),
    "words.npy": ("words.npy", "voxels"),
})  # fmt: skip

ANNOTATIONS = rows("annotations", "check train evaluate predict", {
    "empty.json": ("empty.json", "no annotation file that can be read"),
    "truncated.json": ("truncated.json", "not JSON"),
    "deep.json": ("deep.json", "nested too deeply"),
    "latin.json": ("latin.json", "not UTF-8"),
    "number.json": ("number.json", "no annotation file"),
    "digits.json": ("digits.json", "not JSON", "digits"),
    "wrong_kinds.json": ("wrong_kinds.json", "'images' should be a list"),
    "nan.json": ("nan.json", "annotation 1", "keypoint nose", "not two finite numbers"),
    "infinite.json": ("infinite.json", "annotation 1", "keypoint nose", "not two finite numbers"),
    "huge.json": ("huge.json", "annotation 1", "keypoint nose", "not two finite numbers"),
    "huge_box.json": ("huge_box.json", "annotation 1", "bbox should be four finite numbers"),
    "nan_box.json": ("nan_box.json", "annotation 1", "bbox should be four finite numbers"),
    "upwards.json": ("upwards.json", "'../secret.png' leads out of the image folder"),
    "backslashes.json": ("backslashes.json", "leads out of the image folder"),
    "absolute.json": ("absolute.json", "'/etc/passwd' leads out of the image folder"),
    "drive.json": ("drive.json", "leads out of the image folder"),
    "nul_name.json": ("nul_name.json", "leads out of the image folder"),
    "newline_name.json": ("newline_name.json", "there is no image", "\\nTraceback"),
    "escape_name.json": ("escape_name.json", "there is no image", "\\x1b[2J"),
    "surrogate_name.json": ("surrogate_name.json", "\\ud83d"),
    "long_name.json": ("long_name.json", "annotation 2", "more)"),
    "newline_keypoint.json": ("newline_keypoint.json", "control characters"),
    "no_image.json": ("no_image.json", "no image is found"),
    "ids_twice.json": ("ids_twice.json", "annotation 1", "its id is taken"),
    "flip_pairs.json": ("flip_pairs.json", "flip pair"),
    "sigmas.json": ("sigmas.json", "sigmas should be a list of positive numbers"),
    "part_of_itself.json": ("part_of_itself.json", "a part of itself"),
    "part_of_nothing.json": ("part_of_nothing.json", "cannot be read"),
    "link_out.json": ("link_out.json", "a link that leads out of"),
    "link_loop.json": ("link_loop.json",),
    "nothing.csv": ("nothing.csv", "no annotation file that can be read"),
    "nul.csv": ("nul.csv",),
    "utf16.csv": ("utf16.csv", "no annotation file that can be read"),
    "nan_half.csv": ("nan_half.csv", "line 4", "nose_y", "it is empty"),
    "infinite.csv": ("infinite.csv", "line 4", "nose_x", "is not finite"),
    "words.csv": ("words.csv", "line 4", "nose_x", "is not a number"),
    "upwards.csv": ("upwards.csv", "line 4", "leads out of the image folder"),
    "pickle.h5": ("pickle.h5", "no annotation file that can be read"),
    "truncated.h5": ("truncated.h5", "the HDF5 file cannot be read"),
    "elsewhere.h5": ("elsewhere.h5", "stand in other files, which are not read"),
    "bomb.h5": ("bomb.h5", "unpacks to"),
    "truncated.mat": ("truncated.mat", "the MATLAB file cannot be read"),
    "fatal.mat": ("fatal.mat", "the MATLAB file cannot be read"),
})  # fmt: skip

UNUSUAL = rows("annotations", "check predict", {
    "far.json": FINE,
    "keys_twice.json": FINE,
    "with_mark.json": FINE,
})  # fmt: skip

PREDICTIONS = rows("predictions", "score", {
    "empty.json": ("empty.json",),
    "deep.json": ("deep.json", "nested too deeply"),
    "words.csv": ("words.csv", "a csv of predictions has the columns"),
    "nan_place.json": ("nan_place.json", "nose", "not a finite number"),
    "far.csv": FINE,
    "twice.csv": ("twice.csv", "line 3", "nose", "line 2 already"),
    "pickle.csv": ("pickle.csv",),
})  # fmt: skip

MODELS = rows("models", "predict evaluate calibrate", {
    "pickle_weights": ("model.safetensors", "not a whole safetensors file"),
    "empty_weights": ("model.safetensors", "not a whole safetensors file"),
    "other_shapes": ("model.safetensors", "do not fit", "of another shape"),
    "lying_header": ("model.safetensors", "not a whole safetensors file"),
    "nan_weights": ("model.safetensors", "not finite"),
    "no_description": ("model.json is missing",),
    "empty_description": ("model.json", "not JSON"),
    "deep_description": ("model.json", "nested too deeply"),
    "newer": ("model.json", "format_version 99"),
    "odd_head": ("model.json", "unknown head"),
    "odd_option": ("model.json", "has no option"),
    "code_in_head": ("model.json", "unknown head"),
    "huge_input": ("model.json", "input_size"),
    "huge_width": ("model.json", "width"),
    "odd_crop": ("model.json", "region"),
    "many_keypoints": ("model.json",),
})  # fmt: skip
# `punctum calibrate` writes a new one instead.
MODELS += rows("models", "predict evaluate", {
    "broken_calibration": ("calibration.json", "not JSON"),
    "nan_calibration": ("calibration.json", "levels"),
    "other_calibration": ("calibration.json", "14 entries, not 2"),
})  # fmt: skip

TOOLS = rows("tools", "check convert", {
    "good.xml": FINE,
    "truncated.xml": ("truncated.xml", "not XML"),
    "laughs.xml": ("laughs.xml", "DOCTYPE"),
    "entity.xml": ("entity.xml", "DOCTYPE"),
    "deep.xml": ("deep.xml", "deep"),
    "upwards.xml": ("'../secret.png' leads out of the image folder",),
    "nan.xml": ("nan.xml", "good.png", "point nose", "'nan,5.5'"),
    "twice.xml": ("twice.xml", "point nose", "twice"),
    "page.xml": ("page.xml",),
    "good_tasks.json": FINE,
    "nan_share.json": ("nan_share.json", "task 7", "nose"),
    "outside_share.json": FINE,
    "no_label.json": ("no_label.json", "task 7"),
    "task_of_words.json": ("task_of_words.json: task 7",),
    "address.json": ("no image is found", "other.png"),
    "upwards_task.json": ("'../secret.png' leads out of the image folder",),
    "good_points.csv": FINE,
    "infinite_points.csv": ("infinite_points.csv", "line 2", "nose"),
    "twice_points.csv": ("twice_points.csv", "line 3", "nose"),
    "empty.slp": ("empty.slp",),
    "text.slp": ("text.slp",),
    "pickle.slp": ("pickle.slp",),
    "elsewhere.slp": ("elsewhere.slp",),
    "tag.yaml": ("tag.yaml", "not YAML"),
    "many.yaml": ("many.yaml", "kpt_shape"),
    "no_folder.yaml": ("/proc/self/mem",),
})  # fmt: skip

BOXES = rows("boxes", "predict-boxes", {
    "empty.csv": ("empty.csv", "image, x, y, width, height"),
    "other_columns.csv": ("other_columns.csv", "here is no x, y, width, height"),
    "nan.csv": ("nan.csv, line 2", "finite"),
    "negative.csv": ("negative.csv, line 2", "above 0"),
    "words.csv": ("words.csv, line 2", "x should be a number, got 'left'"),
    "others.csv": ("others.csv", "boxes of none of the pictures"),
    "pickle.csv": ("pickle.csv",),
    "deep.json": ("deep.json", "nested too deeply"),
    "object.json": ("object.json", "a list of objects"),
    "digits.json": ("digits.json: entry 0", "x should be a number, got 1000000"),
    "infinite.json": ("infinite.json: entry 0", "finite"),
    "huge.csv": ("huge.csv, line 2", "finite numbers up to 1e+09"),
    "far.csv": FINE,
})  # fmt: skip

VIDEOS = rows("videos", "predict", {
    "good.mp4": FINE,
    "picture.mp4": FINE,
    "animated.gif": FINE,
    "empty.mp4": ("empty.mp4", "cannot be opened as a video"),
    "text.mp4": ("text.mp4", "cannot be opened as a video"),
    "pickle.mp4": ("pickle.mp4", "cannot be opened as a video"),
    "truncated.mp4": ("truncated.mp4", "cannot be opened as a video"),
    "cut_off.mp4": ("cut_off.mp4#", "cut off"),
    "playlist.mp4": ("playlist.mp4", "cannot be opened as a video"),
    "list.mp4": ("list.mp4", "a list of other files"),
    "list_out.mp4": ("list_out.mp4", "cannot be opened as a video"),
    "bomb.y4m": ("bomb.y4m", "cannot be opened as a video"),
})  # fmt: skip

EXPORTS = rows("exports", "predict", {
    "empty": ("empty.onnx", "no ONNX file"),
    "text": ("text.onnx", "no ONNX file"),
    "pickle": ("pickle.onnx", "no ONNX file"),
    "truncated": ("truncated.onnx", "no ONNX file"),
    "elsewhere": ("elsewhere.onnx", "no ONNX file"),
    "nan_weights": ("nan_weights.onnx",),
    "undescribed": ("undescribed.onnx", "does not say what it is"),
    "not_json": ("not_json.onnx", "not JSON"),
    "deep_json": ("deep_json.onnx", "nested too deeply"),
    "newer": ("newer.onnx", "format_version is 99"),
    "huge_input": ("huge_input.onnx", "input_size"),
    "input_of_words": ("input_of_words.onnx", "input_size"),
    "odd_crop": ("odd_crop.onnx", "region"),
    "other_outputs": ("other_outputs.onnx", "does not fit its graph", "nothing"),
    "many_keypoints": ("many_keypoints.onnx", "14, 2)", "1000, 2)"),
    "nan_levels": ("nan_levels.onnx", "levels"),
    "few_levels": ("few_levels.onnx", "radius"),
    "odd_normalizer": ("odd_normalizer.onnx", "normalizer"),
    "no_promise": ("no_promise.onnx", "radius"),
})  # fmt: skip

RUNS = [
    Case("runs", "python_tag", ("train-config", "calibrate-run"), ("config.yaml", "not YAML")),
    Case("runs", "laughs", ("train-config", "calibrate-run"), ("config.yaml", "alias")),
    Case("runs", "deep_yaml", ("train-config",), ("config.yaml", "nested too deeply")),
    Case("runs", "pickled_checkpoint", ("resume",), ("last.ckpt",)),
    Case("runs", "empty_checkpoint", ("resume",), ("last.ckpt",)),
    Case("runs", "metrics_of_words", ("report",), ("metrics.json",)),
    Case("runs", "pickled_evaluation", ("report",), ("evaluation.npz",)),
]

WRITING = ("predict", "draw", "train", "evaluate", "check", "suggest", "report", "score", "sigmas", "convert")
OUTPUTS = [
    Case("outputs", place, WRITING, words)
    for place, words in {
        "full_disk": ("File too large",),
        "file_as_folder": ("into",),
        "read_only": ("Permission denied",),
    }.items()
]

INPUTS = [*PICTURES, *VOLUMES, *ANNOTATIONS, *UNUSUAL, *PREDICTIONS, *TOOLS, *BOXES, *VIDEOS]
CASES = [*INPUTS, *MODELS, *EXPORTS, *RUNS, *OUTPUTS]
