"""What the API takes and answers, for its OpenAPI document. Every schema has an example, which /docs shows."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Schema(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")

    example: ClassVar[Any] = {}


class Error(Schema):
    """Why there is no answer, in a sentence."""

    error: str

    example: ClassVar[Any] = {"error": "There is no such model. Did you mean birds? GET /v1/models lists them."}


# ---- /v1


class Guess(Schema):
    """A class: its name, its calibrated score and its place among the classes."""

    label: str
    score: float = Field(ge=0, le=1)
    index: int = Field(ge=0)


class Answer(Schema):
    """What the model says of an image, as `classicnets predict --format json` prints it."""

    path: str = Field(description="The file's name in the form, or 'image 0'.")
    predictions: list[Guess] = Field(description="The best classes, best first.")
    model: str = Field(description="The network's name.")
    set: list[str] = Field([], description="The classes that hold the true one with the probability `coverage`.")
    coverage: float = Field(0.95, description="The coverage that was asked for.")
    unlike_training: bool = Field(False, description="Whether the image is unlike the training images.")


class Unreadable(Schema):
    """An image that cannot be read, and why."""

    path: str
    error: str


class Answers(Schema):
    """An answer for each image, in order."""

    answers: list[Answer | Unreadable]

    example: ClassVar[Any] = {
        "answers": [
            {
                "path": "image 0",
                "predictions": [
                    {"label": "crow", "score": 0.912, "index": 3},
                    {"label": "raven", "score": 0.071, "index": 11},
                ],
                "model": "resnet18",
                "unlike_training": False,
            }
        ]
    }


class NoAnswers(Error):
    """Why there is no answer. If no image can be read, `answers` says so of each."""

    answers: list[Unreadable] = []

    example: ClassVar[Any] = {
        "error": "image 0: the data is damaged (Premature end of JPEG file)",
        "answers": [{"path": "image 0", "error": "image 0: the data is damaged (Premature end of JPEG file)"}],
    }


class DriftState(Schema):
    """Whether recent images still look like the validation images."""

    alarm: bool
    evidence: float = Field(ge=0, description="Log10 of the evidence for drift in this window of images.")
    images: int = Field(ge=0, description="How many images this window has.")
    alarm_at: float = Field(description="The evidence that gives an alarm.")
    false_alarm_rate: float = Field(description="The share of windows without drift that have an alarm, at most.")
    window: int = Field(description="How many images a window has.")
    words: str = Field(description="It in a sentence.")


class Model(Schema):
    """A model and what it can do."""

    name: str = Field(description="What requests call it.")
    version: int = Field(ge=1, description="1, and one more each time that its files were replaced.")
    model: str = Field(description="The network's name.")
    classes: list[str]
    input_size: list[int] = Field(description="Height and width.")
    channels: int
    engine: str
    precision: str
    can_explain: bool
    coverage: bool = Field(description="Whether it can give sets with coverage.")
    unlike_training: bool = Field(description="Whether it says if an image is unlike the training images.")
    drift: DriftState | None = Field(description="Null if the model keeps no scores of validation images.")
    metrics: dict[str, Any] = Field(description="What was measured on test images.")


class Models(Schema):
    """The models that the server has."""

    models: list[Model]

    example: ClassVar[Any] = {
        "models": [
            {
                "name": "birds", "version": 1, "model": "resnet18", "classes": ["crow", "raven"],
                "input_size": [224, 224], "channels": 3, "engine": "openvino", "precision": "fp32",
                "can_explain": False, "coverage": True, "unlike_training": True,
                "drift": {
                    "alarm": False, "evidence": 0.12, "images": 431, "alarm_at": 2.0, "false_alarm_rate": 0.01,
                    "window": 10000, "words": "No sign of drift in 431 images.",
                },
                "metrics": {"top1": 0.942},
            }
        ]
    }  # fmt: skip


class Explanation(Schema):
    """Where in the image a class is found, as numbers."""

    path: str
    model: str
    method: str
    stage: str | None
    label: str = Field(alias="class")
    score: float
    predicted: str
    predicted_score: float
    map_size: list[int]
    picture_size: list[int] = Field([], description="Height and width of the picture that `window` counts pixels of.")
    empty: bool
    window: dict[str, int] = Field(description="The part of the picture that the network sees.")
    finding: str | None
    verdict: dict[str, Any] | None
    heat: list[list[float]] = Field(description="The map, from 0 to 1, row by row.")

    example: ClassVar[Any] = {
        "path": "image 0", "model": "resnet18", "method": "grad-cam", "stage": "conv5_x", "class": "crow",
        "score": 0.912, "predicted": "crow", "predicted_score": 0.912, "map_size": [2, 2], "empty": False,
        "window": {"top": 0, "left": 80, "height": 480, "width": 480}, "finding": None, "verdict": None,
        "heat": [[0.0, 0.2], [0.1, 1.0]],
    }  # fmt: skip


# ---- health


class Live(Schema):
    """The process runs."""

    live: Literal[True]

    example: ClassVar[Any] = {"live": True}


class Ready(Live):
    """Whether the server takes requests."""

    ready: bool

    example: ClassVar[Any] = {"live": True, "ready": True}


# ---- /v2


class Server(Schema):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]

    example: ClassVar[Any] = {
        "name": "classicnets", "version": "0.1.0", "extensions": ["binary_tensor_data", "classification"],
    }  # fmt: skip


class TensorMetadata(Schema):
    """A tensor; -1 is any number of images."""

    name: str
    datatype: Literal["UINT8", "BYTES", "FP32"]
    shape: list[int]


class ModelMetadata(Schema):
    """The inputs and outputs of a model. A request has one of the inputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]

    example: ClassVar[Any] = {
        "name": "birds", "versions": ["1"], "platform": "classicnets",
        "inputs": [
            {"name": "images", "datatype": "UINT8", "shape": [-1, 3, 224, 224]},
            {"name": "encoded", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
    }  # fmt: skip


class InputConfig(Schema):
    """An input, in Triton's words; the number of images is left out."""

    name: str
    data_type: str
    dims: list[int]
    optional: bool


class OutputConfig(Schema):
    """An output, in Triton's words; the number of images is left out."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(Schema):
    """A model's configuration, in Triton's words."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[InputConfig]
    output: list[OutputConfig]

    example: ClassVar[Any] = {
        "name": "birds", "platform": "classicnets", "backend": "classicnets", "max_batch_size": 64,
        "input": [{"name": "images", "data_type": "TYPE_UINT8", "dims": [3, 224, 224], "optional": True}],
        "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [2]}],
    }  # fmt: skip


class ModelReady(Schema):
    """Whether a model answers."""

    name: str
    ready: bool

    example: ClassVar[Any] = {"name": "birds", "ready": True}


class InputTensor(BaseModel):
    """Images: "images" UINT8 (N, C, H, W), prepared pixels, or "encoded" BYTES (N), image files in base64."""

    name: Literal["images", "encoded"]
    datatype: Literal["UINT8", "BYTES"]
    shape: list[int] = Field(min_length=1, max_length=4)
    data: list[Any] = []
    parameters: dict[str, Any] = {}


class RequestedOutput(BaseModel):
    """An output that is asked for; the parameter `classification` asks for so many classes in words."""

    name: Literal["probabilities", "novelty"]
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """A request of the Open Inference Protocol."""

    id: str = ""
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] = []
    parameters: dict[str, Any] = {}

    example: ClassVar[Any] = {
        "inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [1], "data": ["/9j/4AAQSkZJRg..."]}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 1}}],
    }


class OutputTensor(Schema):
    """An output. Its numbers, or its words "score:index:class", are in `data`, or follow the JSON as raw bytes."""

    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: list[int]
    data: list[float | str] = []
    parameters: dict[str, int] = {}


class InferResponse(Schema):
    """An answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[OutputTensor]

    example: ClassVar[Any] = {
        "model_name": "birds", "model_version": "1",
        "outputs": [{"name": "probabilities", "datatype": "BYTES", "shape": [1, 1], "data": ["0.912000:0:crow"]}],
    }  # fmt: skip
