"""A service of AWS by botocore's own model of it: which operation a request asks for, and whether both sides keep its shapes."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from werkzeug.wrappers import Request, Response

from afina.cloud.intake import parse_json
from afina.cloud.store import new_id

BODY_LIMIT = 4 << 20
# Java's pattern for job names nests two quantifiers over "-", which costs exponential time; this one says the same.
SLOW, FAST = r"(-*[a-zA-Z0-9\+\-\.])*", r"[a-zA-Z0-9+\-.]*"
STATUS_OF = {
    "AccessDeniedException": 403, "ResourceNotFoundException": 404, "UnknownOperationException": 404,
    "ModelNotReadyException": 429,
}  # fmt: skip
KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "structure": (dict, "be an object"), "map": (dict, "be a map"), "list": (list, "be a list"),
    "string": (str, "be a string"), "timestamp": (str, "be a timestamp"), "boolean": (bool, "be a boolean"),
    "integer": (int, "be an integer"), "long": (int, "be an integer"),
    "float": ((int, float), "be a number"), "double": ((int, float), "be a number"),
}  # fmt: skip

Handler = Callable[[dict, str], dict | Response]


class AwsError(Exception):
    """An error of the service, by the name botocore's model gives it."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


# --- shapes --------------------------------------------------------------------------------------------------------------


def check_shape(shape: Shape, value: object, path: str = "") -> None:
    """ValueError where `value` (parsed JSON) breaks the shape: type, required, enum, pattern, length, range."""
    kind = shape.type_name
    wanted, rule = KINDS.get(kind, (object, ""))
    right = isinstance(value, wanted) and (kind == "boolean" or not isinstance(value, bool))
    if right and isinstance(value, float):
        right = math.isfinite(value)
    if right and kind == "timestamp":
        right = instant(str(value)) is not None
    _need(right, value, path, rule)
    size = value if isinstance(value, (int, float)) else len(value) if isinstance(value, (str, list, dict)) else 0
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    _need(low is None or size >= low, value, path, f"have length or value greater than or equal to {low}")
    _need(high is None or size <= high, value, path, f"have length or value less than or equal to {high}")
    if isinstance(value, str) and kind == "string":
        _need(not shape.enum or value in shape.enum, value, path, f"satisfy enum value set: {shape.enum}")
        pattern = shape.metadata.get("pattern", "").replace(SLOW, FAST)
        fits = not pattern or re.fullmatch(pattern, value)
        _need(bool(fits), value, path, f"satisfy regular expression pattern: {pattern[:120]}")
    for part, item, where in _parts(shape, value, path):
        check_shape(part, item, where)


def _parts(shape: Shape, value, path: str) -> Iterator[tuple[Shape, object, str]]:
    """(shape, value, path) of everything inside a list, a map or a structure."""
    if shape.type_name == "list":
        yield from ((shape.member, item, f"{path}.{place}.member") for place, item in enumerate(value, 1))
    elif shape.type_name == "map":
        yield from ((shape.value, item, f"{path}.{name[:40]}") for name, item in value.items())
    elif shape.type_name == "structure" and not shape.is_document_type:
        for name in shape.required_members:
            _need(value.get(name) is not None, None, f"{path}.{name}", "not be null")
        for name, item in value.items():
            if name in shape.members and item is not None:
                yield shape.members[name], item, f"{path}.{name}"


def _need(right: bool, value: object, path: str, rule: str) -> None:
    if not right:
        shown, path = json.dumps(value, ensure_ascii=True, default=str)[:120], path.lstrip(".")
        raise ValueError(
            f"1 validation error detected: Value {shown} at '{path}' failed to satisfy constraint: Member must {rule}"
        )


def fit(shape: Shape, value):
    """What the shape names of `value`: one set of facts about a thing serves its whole view and its line in a list."""
    if shape.type_name == "structure" and not shape.is_document_type:
        return {name: fit(member, value[name]) for name, member in shape.members.items() if name in value}
    return [fit(shape.member, item) for item in value] if shape.type_name == "list" else value


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(text: str) -> float | None:
    """Seconds since 1970 of an ISO time, which is UTC unless it says otherwise; None for anything else."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


# --- operations ----------------------------------------------------------------------------------------------------------


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
            raise AwsError("UnknownOperationException", f"This local twin does not do {operation.name}.")
        answer = handler(_asked(request, operation.input_shape, in_path), region)
        if isinstance(answer, Response):
            return answer
        if operation.output_shape is not None:
            answer = fit(operation.output_shape, answer)
            check_shape(
                operation.output_shape, answer, operation.name
            )  # a breach here is a bug of the twin, and answers 500
        return Response(json.dumps(answer), operation.http["responseCode"], mimetype="application/json")

    def _operation(self, request: Request) -> tuple[OperationModel, dict[str, str]]:
        for method, pattern, operation in self.routes:
            if method == request.method and (found := pattern.fullmatch(request.path)):
                return operation, found.groupdict()
        raise AwsError("UnknownOperationException", f"No operation at {request.method} {request.path[:200]}")


def _asked(request: Request, shape: Shape | None, in_path: dict[str, str]) -> dict:
    """What a request asks for: members of the shape, from body, path and query."""
    if shape is None:
        return {}
    try:
        data = request.get_data()
    except Exception as error:
        raise invalid("The request is larger than this local twin takes.") from error
    asked: dict = {}
    payload = shape.serialization.get("payload")
    if payload and shape.members[payload].type_name == "blob":
        asked[payload] = data
    elif data:
        try:
            asked = parse_json(data)
        except ValueError as error:
            raise AwsError("SerializationException", "The body of the request is not a JSON object.") from error
    for name, member in shape.members.items():
        place, key = member.serialization.get("location"), member.serialization.get("name", name)
        if place == "uri":
            asked[name] = in_path[key]
        elif place == "querystring":
            asked[name] = _typed(member, request.args[key]) if key in request.args else None
    try:
        check_shape(shape, {name: value for name, value in asked.items() if name != payload})
    except RecursionError as error:
        raise invalid("The request is nested too deep.") from error
    except ValueError as error:
        raise invalid(str(error)) from error
    return {name: value for name, value in asked.items() if value is not None and name in shape.members}


def _typed(member: Shape, text: str):
    """A query value as JSON would have it."""
    if member.type_name in ("integer", "long"):
        return int(text) if re.fullmatch(r"-?\d{1,9}", text) else text
    if member.type_name == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    return text
