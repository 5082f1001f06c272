"""A service of AWS by botocore's own model of it: which operation a request asks for, and whether both sides keep its shapes."""

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from afina.cloud.intake import BODY_LIMIT, parse_json
from afina.cloud.store import new_id

# Java's pattern for job names nests two quantifiers over "-", which costs exponential time; this one says the same.
SLOW, FAST = r"(-*[a-zA-Z0-9\+\-\.])*", r"[a-zA-Z0-9+\-.]*"
STATUS_OF = {"ResourceNotFoundException": 404, "UnknownOperationException": 404, "ModelNotReadyException": 429}
KINDS: dict[str, tuple[Any, str]] = {
    "structure": (dict, "an object"), "map": (dict, "a map"), "list": (list, "a list"), "string": (str, "a string"),
    "timestamp": (str, "a timestamp"), "boolean": (bool, "a boolean"), "integer": (int, "an integer"),
    "long": (int, "an integer"), "float": ((int, float), "a number"), "double": ((int, float), "a number"),
}  # fmt: skip

Handler = Callable[[dict, str], dict | Response]


class AwsError(Exception):
    """An error of the service, by the name botocore's model gives it."""

    def __init__(self, message: str, code: str = "ValidationException"):
        super().__init__(message)
        self.code = code


def must(right: object, message: str, code: str = "ValidationException") -> None:
    """AwsError unless `right`."""
    if not right:
        raise AwsError(message, code)


def fit(shape: Shape, value: Any, path: str = "") -> Any:
    """What the shape names of `value` (parsed JSON), None left out: one set of facts serves a thing's view and its line in a list.

    ValueError where the value breaks the shape: type, required, enum, pattern, length, range.
    """
    if rule := _broken(shape, value):
        what = f"Value {json.dumps(value, default=str)[:120]} at '{path.lstrip('.')}'"
        raise ValueError(f"1 validation error detected: {what} failed to satisfy constraint: Member must {rule}")
    if shape.type_name == "list":
        return [fit(shape.member, item, f"{path}.{place}.member") for place, item in enumerate(value, 1)]
    if shape.type_name == "map":
        return {name: fit(shape.value, item, f"{path}.{name[:40]}") for name, item in value.items()}
    if shape.type_name == "structure" and not shape.is_document_type:
        names = [name for name in shape.members if name in shape.required_members or value.get(name) is not None]
        names.sort(key=lambda name: value.get(name) is not None)  # what is missing is told first
        return {name: fit(shape.members[name], value.get(name), f"{path}.{name}") for name in names}
    return value


def _broken(shape: Shape, value: Any) -> str | None:
    """The first of the shape's own rules that the value breaks."""
    kind, low, high = shape.type_name, shape.metadata.get("min"), shape.metadata.get("max")
    wanted, called = KINDS.get(kind, (object, ""))
    if value is None:
        return "not be null"
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "boolean"):
        return f"be {called}"
    if (isinstance(value, float) and not math.isfinite(value)) or (kind == "timestamp" and instant(value) is None):
        return f"be {called}"
    size = value if isinstance(value, (int, float)) else len(value)
    if low is not None and size < low:
        return f"have length or value greater than or equal to {low}"
    if high is not None and size > high:
        return f"have length or value less than or equal to {high}"
    pattern = shape.metadata.get("pattern", "").replace(SLOW, FAST)
    if kind == "string" and shape.enum and value not in shape.enum:
        return f"satisfy enum value set: {shape.enum}"
    if kind == "string" and pattern and not re.fullmatch(pattern, value):
        return f"satisfy regular expression pattern: {pattern[:120]}"
    return None


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(text: str) -> float | None:
    """Seconds since 1970 of an ISO time, which is UTC unless it says otherwise; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


@functools.cache
def service_model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


class Api:
    """The operations of some services. `handlers` answer by name: (what is asked, region) -> what the operation's shape names."""

    def __init__(self, services: tuple[str, ...], handlers: Mapping[str, Handler]):
        self.handlers = handlers
        self.routes: list[tuple[str, re.Pattern[str], OperationModel]] = []
        for model in map(service_model, services):
            for operation in map(model.operation_model, model.operation_names):
                uri = operation.http["requestUri"].split("?")[0]
                pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(uri))
                self.routes.append((operation.http["method"], re.compile(pattern), operation))
        self.routes.sort(key=lambda route: ("(?P" in route[1].pattern, -len(route[1].pattern)))

    def __call__(self, environ, start_response, region: str):
        request = Request(environ)
        request.max_content_length = BODY_LIMIT
        try:
            response = self._answer(request, region)
        except AwsError as error:
            body, status = json.dumps({"message": str(error)}), STATUS_OF.get(error.code, 400)
            response = Response(body, status, mimetype="application/json", headers={"x-amzn-errortype": error.code})
        response.headers["x-amzn-requestid"] = new_id("local-", 12)
        return response(environ, start_response)

    def _answer(self, request: Request, region: str) -> Response:
        operation, in_path = self._operation(request)
        handler = self.handlers.get(operation.name)
        if handler is None:
            raise AwsError(f"This local twin does not do {operation.name}.", "UnknownOperationException")
        answer = handler(_asked(request, operation.input_shape, in_path), region)
        if isinstance(answer, Response):
            return answer
        answer = fit(operation.output_shape, answer, operation.name)  # a breach is a bug of the twin, and answers 500
        return Response(json.dumps(answer), operation.http["responseCode"], mimetype="application/json")

    def _operation(self, request: Request) -> tuple[OperationModel, dict[str, str]]:
        for method, pattern, operation in self.routes:
            if method == request.method and (found := pattern.fullmatch(request.path)):
                return operation, found.groupdict()
        raise AwsError(f"No operation at {request.method} {request.path[:200]}", "UnknownOperationException")


def fit_request(shape: Shape, asked: dict) -> dict:
    """What the shape names of what is asked. AwsError where it breaks the shape."""
    try:
        return fit(shape, asked)
    except RecursionError as error:
        raise AwsError("The request is nested too deep.") from error
    except ValueError as error:
        raise AwsError(str(error)) from error


def _asked(request: Request, shape: Shape, in_path: dict[str, str]) -> dict:
    """What a request asks for: members of the shape, from body, path and query."""
    payload, asked = shape.serialization.get("payload"), {}
    try:
        data = request.get_data()
    except HTTPException as error:
        raise AwsError("The request is larger than this local twin takes.") from error
    if payload and shape.members[payload].type_name == "blob":
        asked[payload] = data
    elif data:
        asked = parse_json(data, AwsError("The body of the request is not a JSON object.", "SerializationException"))
    places = {"uri": in_path, "querystring": request.args}
    for name, member in shape.members.items():
        found = places.get(member.serialization.get("location"))
        if found is not None:
            asked[name] = _typed(member, found.get(member.serialization.get("name", name)))
    return fit_request(shape, asked)


def _typed(member: Shape, text: str | None):
    """A value of path or query as JSON would have it."""
    if text and member.type_name in ("integer", "long"):
        return int(text) if re.fullmatch(r"-?\d{1,9}", text) else text
    return {"true": True, "false": False}.get(text.lower(), text) if text and member.type_name == "boolean" else text
