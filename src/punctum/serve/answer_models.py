"""The form of every answer, for /openapi.json. Answers are written without going through them, which would cost
more than the network; the tests hold them against it."""

from pydantic import BaseModel, ConfigDict, Field


class Form(BaseModel):
    """Nothing but what is named."""

    model_config = ConfigDict(extra="forbid")


class Region(Form):
    """What holds the point with a level's probability."""

    radius: float | None = Field(description="of the ball around the point, pixels")
    ellipse: float | None = Field(
        description="the ellipse is all within so many standard deviations of the covariance"
    )
    area: float | None = Field(
        default=None, description="of the highest-density region, pixels squared; null: without an end"
    )


class PlaceForm(Form):
    """One likely place of a point."""

    x: float
    y: float
    mass: float = Field(description="its probability")


class Keypoint(Form):
    """A point in the pixels of the picture; (0, 0) is the centre of the top-left one."""

    name: str
    x: float | None
    y: float | None
    score: float | None = Field(description="in [0, 1]; of a calibrated model the probability of a small error")
    covariance: list[list[float | None]] | None = Field(description="2 x 2, pixels squared")
    present: float | None = Field(default=None, description="probability that the point is in the picture")
    regions: dict[str, Region] | None = Field(default=None, description="by level, of a calibrated model")
    flags: list[str] | None = Field(default=None, description="wide, two, flat: what speaks against the point")
    places: list[PlaceForm] | None = Field(default=None, description="the likeliest places, where asked for")


class Heatmaps(Form):
    """What the network saw, for people: each map stretched to its own maximum."""

    size: list[int] = Field(description="height and width of a map", min_length=2, max_length=2)
    peaks: list[float] = Field(description="the maximum of each map")
    to_image: list[list[float]] = Field(description="2 x 3, a map's pixels to the picture's")
    png: str = Field(description="base64 of a gray PNG, the maps below one another")


class Instance(Form):
    """One object."""

    box: list[float] | None = Field(description="x, y, width, height as asked for; null: the whole picture")
    typical: float | None = Field(default=None, description="share of calibration instances at least as uncertain")
    keypoints: list[Keypoint]
    heatmaps: Heatmaps | None = None


class Picture(Form):
    """One picture of the request."""

    image: str = Field(description="the file's name as it was sent")
    width: int
    height: int
    instances: list[Instance]


class Answer(Form):
    """The pictures in the order in which they were sent."""

    images: list[Picture]


class ErrorForm(Form):
    """What was wrong."""

    error: str


class Health(Form):
    """Whether pictures are taken."""

    status: str = Field(description="ok, or stopping")


class ModelForm(Form):
    """What is served, and its limits."""

    name: str
    engine: str
    keypoints: list[str]
    skeleton: list[list[int]] = Field(description="pairs of indices of keypoints that belong together")
    input_size: list[int] = Field(description="height and width of what the network sees")
    region: str = Field(description="box: the model learned on boxes around its objects; image: on whole pictures")
    levels: list[float] = Field(description="of regions; empty where the model is not calibrated")
    heatmaps: bool
    places: int = Field(description="how many likely places it can tell")
    limits: dict[str, float]
