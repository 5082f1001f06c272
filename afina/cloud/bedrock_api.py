"""The Bedrock side of the twin: customization jobs, custom models, deployments, provisioned throughput, Converse, Invoke.

Routes, the checks of requests and the check of every response come from botocore's own service model. Which model
trains where, its limits and formats: `afina.jsonl.limits`, facts with their sources. Texts of errors are ours where no
source gives them.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import string
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from werkzeug.wrappers import Request, Response

from afina.cloud.aws import ACCOUNT, split_uri
from afina.cloud.chat import Refused, Turn
from afina.cloud.intake import fail, forget_model, job_event, job_folder, parse_json
from afina.cloud.store import new_id, now
from afina.jsonl import limits

READY_AFTER = 1.0  # seconds a deployment or throughput is "Creating" here; minutes on AWS
LOWER = string.ascii_lowercase + string.digits
BODY_LIMIT = 4 << 20
REGIONS = {"amazon": "us-east-1", "meta": "us-west-2"}  # where the family trains: custom-model-fine-tuning.html
# name -> (least, most, default): docs.aws.amazon.com/bedrock/latest/userguide/custom-models-hp.html
HYPERPARAMETERS = {
    "amazon": {
        "epochCount": (1, 5, 2), "learningRate": (1e-6, 1e-4, 1e-5), "learningRateWarmupSteps": (0, 100, 10),
        "batchSize": (1, 1, 1),
    },
    "meta": {"epochCount": (1, 10, 5), "learningRate": (5e-6, 0.1, 1e-4), "batchSize": (1, 1, 1)},
}  # fmt: skip
ON_DEMAND = ("amazon.nova-", "meta.llama3-3-70b")  # what create_custom_model_deployment takes
STATUS = {
    "validating_files": "InProgress", "queued": "InProgress", "running": "InProgress", "delivering": "InProgress",
    "succeeded": "Completed", "failed": "Failed", "stopping": "Stopping", "cancelled": "Stopped",
}  # fmt: skip
# Java's pattern for job names nests two quantifiers over "-", which costs exponential time; this one says the same.
SLOW, FAST = r"(-*[a-zA-Z0-9\+\-\.])*", r"[a-zA-Z0-9+\-.]*"


class AwsError(Exception):
    """An error of the service, by the name botocore's model gives it."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


# --- shapes --------------------------------------------------------------------------------------------------------------


def check(shape: Shape, value: object, path: str = "") -> None:
    """ValueError where `value` (parsed JSON) breaks the shape: type, required, enum, pattern, length, range."""
    kind = shape.type_name
    if kind == "structure":
        if shape.is_document_type:
            return
        _need(isinstance(value, dict), value, path, "be an object")
        given = {name: item for name, item in value.items() if item is not None}
        for name in shape.required_members:
            _need(name in given, None, f"{path}.{name}".lstrip("."), "not be null")
        for name, item in given.items():
            if name in shape.members:
                check(shape.members[name], item, f"{path}.{name}".lstrip("."))
    elif kind == "list":
        _need(isinstance(value, list), value, path, "be a list")
        _size(shape, len(value), value, path)
        for place, item in enumerate(value):
            check(shape.member, item, f"{path}.{place + 1}.member")
    elif kind == "map":
        _need(isinstance(value, dict), value, path, "be a map")
        _size(shape, len(value), value, path)
        for name, item in value.items():
            check(shape.value, item, f"{path}.{name[:40]}")
    elif kind == "string":
        _need(isinstance(value, str), value, path, "be a string")
        _size(shape, len(value), value, path)
        _need(not shape.enum or value in shape.enum, value, path, f"satisfy enum value set: {shape.enum}")
        pattern = shape.metadata.get("pattern", "").replace(SLOW, FAST)
        fits = not pattern or re.fullmatch(pattern, value)
        _need(bool(fits), value, path, f"satisfy regular expression pattern: {pattern[:120]}")
    elif kind == "boolean":
        _need(isinstance(value, bool), value, path, "be a boolean")
    elif kind in ("integer", "long"):
        _need(isinstance(value, int) and not isinstance(value, bool), value, path, "be an integer")
        _size(shape, value, value, path)
    elif kind in ("float", "double"):
        right = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        _need(right, value, path, "be a number")
        _size(shape, value, value, path)
    elif kind == "timestamp":
        _need(isinstance(value, str) and _time(value) is not None, value, path, "be a timestamp")


def _need(right: bool, value: object, path: str, rule: str) -> None:
    if not right:
        shown = json.dumps(value, ensure_ascii=True, default=str)[:120]
        raise ValueError(
            f"1 validation error detected: Value {shown} at '{path}' failed to satisfy constraint: Member must {rule}"
        )


def _size(shape: Shape, size: float, value: object, path: str) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    _need(low is None or size >= low, value, path, f"have length or value greater than or equal to {low}")
    _need(high is None or size <= high, value, path, f"have length or value less than or equal to {high}")


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- the application -----------------------------------------------------------------------------------------------------


class Bedrock:
    """Requests signed for "bedrock": the control service and the runtime together."""

    def __init__(self, aws):
        self.aws, self.store = aws, aws.store
        loader = Loader()
        self.routes = []
        for service in ("bedrock", "bedrock-runtime"):
            model = ServiceModel(loader.load_service_model(service, "service-2"), service)
            for name in model.operation_names:
                operation = model.operation_model(name)
                uri = operation.http["requestUri"].split("?")[0]
                pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(uri))
                self.routes.append((operation.http["method"], re.compile(pattern), operation))
        self.routes.sort(key=lambda route: ("(?P" in route[1].pattern, -len(route[1].pattern)))

    def __call__(self, environ, start_response, region: str):
        request = Request(environ)
        request.max_content_length = BODY_LIMIT
        headers = {"x-amzn-requestid": new_id("local-", 12)}
        try:
            response = self._answer(request, region)
        except AwsError as error:
            status = _ERRORS.get(error.code, 400)
            body = json.dumps({"message": str(error)})
            response = Response(body, status, mimetype="application/json", headers={"x-amzn-errortype": error.code})
        response.headers.extend(headers)
        return response(environ, start_response)

    def _answer(self, request: Request, region: str) -> Response:
        routes = (
            (pattern.fullmatch(request.path), op) for method, pattern, op in self.routes if method == request.method
        )
        found, operation = next(((found, op) for found, op in routes if found), (None, None))
        if found is None:
            raise AwsError("UnknownOperationException", f"No operation at {request.method} {request.path[:200]}")
        handler: Callable | None = getattr(self, "do_" + operation.name, None)
        if handler is None:
            raise AwsError("UnknownOperationException", f"This local twin does not do {operation.name}.")
        asked = self._parse(request, operation, found.groupdict())
        answer = handler(asked, region)
        if isinstance(answer, Response):
            return answer
        shape = operation.output_shape
        if shape is not None:
            check(shape, answer, operation.name)  # a breach here is a bug of the twin, and answers 500
        return Response(json.dumps(answer), operation.http["responseCode"], mimetype="application/json")

    def _parse(self, request: Request, operation, in_path: dict) -> dict:
        shape, asked = operation.input_shape, {}
        if shape is None:
            return asked
        try:
            data = request.get_data()
        except Exception as error:
            raise invalid("The request is larger than this local twin takes.") from error
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
                asked.pop(name, None)
                if key in request.args:
                    asked[name] = _typed(member, request.args[key])
        try:
            check(shape, {k: v for k, v in asked.items() if k != payload})
        except RecursionError as error:
            raise invalid("The request is nested too deep.") from error
        except ValueError as error:
            raise invalid(str(error)) from error
        return {name: value for name, value in asked.items() if value is not None}

    # --- jobs --------------------------------------------------------------------------------------------------------

    def do_CreateModelCustomizationJob(self, asked: dict, region: str) -> dict:
        token = asked.get("clientRequestToken")
        jobs = self._jobs(region)
        for job in jobs:
            if token and job["token"] == token:
                if job["asked"] != asked:
                    raise AwsError("ConflictException", "This clientRequestToken was used with other parameters.")
                return {"jobArn": job["arn"]}
        model = _base(asked["baseModelIdentifier"], region)
        kind = asked.get("customizationType", "FINE_TUNING")
        if kind != "FINE_TUNING":
            raise invalid(f"This local twin trains FINE_TUNING only, not {kind}.")
        for field in ("customModelKmsKeyId", "vpcConfig", "customizationConfig"):
            if field in asked:
                raise invalid(f"This local twin does not take {field}.")
        values = _hyperparameters(model.id, asked.get("hyperParameters", {}))
        train = asked["trainingDataConfig"].get("s3Uri")
        if train is None:
            raise invalid("trainingDataConfig.s3Uri is required.")
        checks = asked.get("validationDataConfig", {}).get("validators", [])
        if len(checks) > 1:
            raise invalid("Only one validation dataset is taken for this model.")
        if any(job["asked"]["jobName"] == asked["jobName"] for job in jobs):
            raise AwsError("ConflictException", f"The job name {asked['jobName']} is in use.")
        name = asked["customModelName"]
        pending = [job for job in jobs if STATUS[job["status"]] == "InProgress"]
        if self._model(name, region) or any(job["asked"]["customModelName"] == name for job in pending):
            raise AwsError("ConflictException", f"The model name {name} is in use.")
        short = new_id("", 12, LOWER)
        arn = f"arn:aws:bedrock:{region}:{ACCOUNT}:model-customization-job/{model.id}/{short}"
        valid = checks[0]["s3Uri"] if checks else None
        self._may(asked["roleArn"], arn, train, valid, asked["outputDataConfig"]["s3Uri"])
        default = HYPERPARAMETERS[model.id.split(".")[0]]["learningRate"][2]
        job = {
            "id": short,
            "service": "bedrock",
            "status": "validating_files",
            "arn": arn,
            "region": region,
            "token": token,
            "asked": asked,
            "model": model.id,
            "family": model.id,
            "layers": [],
            "method": "supervised",
            "format": model.format,
            # the multiplier 2 is the twin's own "auto": the service's default rate stands for it
            "hyperparameters": {
                "n_epochs": int(values["epochCount"]),
                "batch_size": "auto",
                "learning_rate_multiplier": 2 * values["learningRate"] / default,
                "warmup": int(values.get("learningRateWarmupSteps", 0)),
            },
            "given": {key: f"{value:g}" for key, value in values.items()},
            "seed": 0,
            "training_file": train,
            "validation_file": valid,
            "new_model": f"bedrock:{short}",
            "created_at": time.time(),
            "finished_at": None,
            "error": None,
            "metadata": None,
        }
        self.store.add("job", short, job)
        job_event(self.store, short, f"Created model customization job: {arn}")
        self.aws.twin.wake()
        return {"jobArn": arn}

    def _may(self, role_arn: str, job_arn: str, train: str, valid: str | None, output: str) -> None:
        """Whether the role exists, trusts Bedrock, and reaches the buckets, which must exist."""
        role = self.aws.role(role_arn)
        if role is None or not self.aws.trusts_bedrock(role, job_arn):
            raise invalid(
                "Could not assume provided IAM role. Please verify that the role exists and that its trust policy "
                "lets bedrock.amazonaws.com assume it for this account and job."
            )
        for uri in filter(None, (train, valid, output)):
            bucket, key = split_uri(uri)
            if self.aws.s3("HEAD", bucket)[0] != 200:
                raise invalid(f"The bucket {bucket} does not exist.")
            wanted = [("s3:ListBucket", f"arn:aws:s3:::{bucket}")]
            path = f"arn:aws:s3:::{bucket}/{key}"
            wanted.append(("s3:PutObject", f"{path.rstrip('/')}/x") if uri == output else ("s3:GetObject", path))
            for action, resource in wanted:
                if not self.aws.allows(role, action, resource):
                    raise invalid(
                        f"Could not validate {action.split(':')[1]} permissions to s3://{bucket} with the provided IAM role."
                    )

    def _jobs(self, region: str) -> list[dict]:
        return [job for job in self.store.all("job") if job["service"] == "bedrock" and job["region"] == region]

    def _job(self, key: str, region: str) -> dict:
        for job in self._jobs(region):
            if key in (job["arn"], job["asked"]["jobName"]):
                return job
        raise AwsError("ResourceNotFoundException", "The provided job identifier could not be found.")

    def do_GetModelCustomizationJob(self, asked: dict, region: str) -> dict:
        job = self._job(asked["jobIdentifier"], region)
        given, status = job["asked"], STATUS[job["status"]]
        view = {
            "jobArn": job["arn"],
            "jobName": given["jobName"],
            "outputModelName": given["customModelName"],
            "roleArn": given["roleArn"],
            "status": status,
            "statusDetails": _phases(job),
            "creationTime": iso(job["created_at"]),
            "lastModifiedTime": iso(job["finished_at"] or time.time()),
            "baseModelArn": base_arn(job["model"], region),
            "hyperParameters": job["given"],
            "trainingDataConfig": given["trainingDataConfig"],
            "validationDataConfig": given.get("validationDataConfig", {"validators": []}),
            "outputDataConfig": given["outputDataConfig"],
            "customizationType": "FINE_TUNING",
        }
        if job["token"]:
            view["clientRequestToken"] = job["token"]
        if job["finished_at"]:
            view["endTime"] = iso(job["finished_at"])
        if status == "Failed":
            view["failureMessage"] = job["error"]["message"]
        if status == "Completed":
            view |= {"outputModelArn": job["model_arn"], **job["figures"]}
        return view

    def do_ListModelCustomizationJobs(self, asked: dict, region: str) -> dict:
        rows = []
        for job in self._jobs(region):
            view = self.do_GetModelCustomizationJob({"jobIdentifier": job["arn"]}, region)
            keys = (
                "jobArn", "baseModelArn", "jobName", "status", "statusDetails", "lastModifiedTime", "creationTime",
                "endTime", "customizationType",
            )  # fmt: skip
            row = {key: view[key] for key in keys if key in view} | {"customModelName": view["outputModelName"]}
            if "outputModelArn" in view:
                row["customModelArn"] = view["outputModelArn"]
            rows.append((row, row["jobName"], row["status"], job["created_at"]))
        return _listing("modelCustomizationJobSummaries", rows, asked)

    def do_StopModelCustomizationJob(self, asked: dict, region: str) -> dict:
        def stop(job: dict) -> None:
            if STATUS[job["status"]] != "InProgress":
                state = STATUS[job["status"]]
                raise AwsError("ConflictException", f"The job is {state}: only a job in progress can be stopped.")
            job["stopped_in"] = job["status"]
            job["status"] = "stopping"

        job = self._job(asked["jobIdentifier"], region)
        self.store.edit("job", job["id"], stop)
        self.aws.twin.wake()
        return {}

    def deliver(self, job: dict) -> None:
        """Write a trained job's metrics to S3 and register its model. A bucket that is gone fails the job."""
        table = json.loads((job_folder(self.store, job["id"]) / "metrics.json").read_text(encoding="utf-8"))
        bucket, prefix = split_uri(job["asked"]["outputDataConfig"]["s3Uri"])
        root = "/".join(filter(None, (prefix.strip("/"), f"model-customization-job-{job['id']}")))
        train = [("step_number", "epoch_number", "training_loss", "perplexity")]
        valid = [("step_number", "epoch_number", "validation_loss", "perplexity")]
        for row in table:
            epoch = math.ceil(row["epoch"] - 1e-6) - 1
            train.append((row["step"] - 1, epoch, row["train_loss"], math.exp(row["train_loss"])))
            if row["valid_loss"] != "":
                valid.append((row["step"] - 1, epoch, row["valid_loss"], math.exp(row["valid_loss"])))
        files = {"training_artifacts/step_wise_training_metrics.csv": train}
        figures = {"trainingMetrics": {"trainingLoss": table[-1]["train_loss"]}}
        if len(valid) > 1:
            files["validation_artifacts/post_fine_tuning_validation/validation/validation_metrics.csv"] = valid
            figures["validationMetrics"] = [{"validationLoss": valid[-1][2]}]
        for name, rows in files.items():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            if self.aws.s3("PUT", bucket, f"{root}/{name}", text.getvalue().encode())[0] != 200:
                fail(self.store, job["id"], "s3", f"Could not write the results to s3://{bucket}/{root}.")
                return
        arn = f"arn:aws:bedrock:{job['region']}:{ACCOUNT}:custom-model/{job['model']}/{new_id('', 12, LOWER)}"
        model = {
            "arn": arn,
            "name": job["asked"]["customModelName"],
            "region": job["region"],
            "job": job["id"],
            "base": job["model"],
            "layers": job["new_layers"],
            "created_at": time.time(),
        }

        def done(found: dict) -> None:
            if found["status"] == "delivering":
                found.update(status="succeeded", finished_at=now(), model_arn=arn, figures=figures)
                self.store.add("custom_model", arn, model)

        self.store.edit("job", job["id"], done)

    # --- custom models -----------------------------------------------------------------------------------------------

    def _models(self, region: str) -> list[dict]:
        return [model for model in self.store.all("custom_model") if model["region"] == region]

    def _model(self, key: str, region: str) -> dict | None:
        return next((model for model in self._models(region) if key in (model["arn"], model["name"])), None)

    def _need_model(self, key: str, region: str) -> dict:
        model = self._model(key, region)
        if model is None:
            raise AwsError("ResourceNotFoundException", "The provided model identifier could not be found.")
        return model

    def do_GetCustomModel(self, asked: dict, region: str) -> dict:
        model = self._need_model(asked["modelIdentifier"], region)
        job = self.store.get("job", model["job"])
        given = job["asked"]
        return {
            "modelArn": model["arn"],
            "modelName": model["name"],
            "jobName": given["jobName"],
            "jobArn": job["arn"],
            "baseModelArn": base_arn(model["base"], region),
            "customizationType": "FINE_TUNING",
            "hyperParameters": job["given"],
            "trainingDataConfig": given["trainingDataConfig"],
            "validationDataConfig": given.get("validationDataConfig", {"validators": []}),
            "outputDataConfig": given["outputDataConfig"],
            "creationTime": iso(model["created_at"]),
            "modelStatus": "Active",
            **job["figures"],
        }

    def do_ListCustomModels(self, asked: dict, region: str) -> dict:
        rows = []
        for model in self._models(region):
            base = base_arn(model["base"], region)
            row = {
                "modelArn": model["arn"],
                "modelName": model["name"],
                "creationTime": iso(model["created_at"]),
                "baseModelArn": base,
                "baseModelName": model["base"].split(":")[0],
                "customizationType": "FINE_TUNING",
                "ownerAccountId": ACCOUNT,
                "modelStatus": "Active",
            }
            wanted = {asked.get("baseModelArnEquals", base), asked.get("foundationModelArnEquals", base)}
            if wanted == {base} and asked.get("modelStatus", "Active") == "Active":
                rows.append((row, model["name"], "Active", model["created_at"]))
        return _listing("modelSummaries", rows, asked)

    def do_DeleteCustomModel(self, asked: dict, region: str) -> dict:
        model = self._need_model(asked["modelIdentifier"], region)
        if any(
            use["model"] == model["arn"] for use in self._uses("deployment", region) + self._uses("throughput", region)
        ):
            raise AwsError("ConflictException", "The model is deployed: delete its deployment or throughput first.")
        self.store.delete("custom_model", model["arn"])
        for checkpoint in self.store.all("checkpoint", model["job"]):
            forget_model(self.store, checkpoint["fine_tuned_model_checkpoint"])
        return {}

    # --- deployments and provisioned throughput ------------------------------------------------------------------------

    def _uses(self, kind: str, region: str) -> list[dict]:
        return [use for use in self.store.all(kind) if use["region"] == region]

    def _use(self, kind: str, key: str, region: str) -> dict:
        for use in self._uses(kind, region):
            if key in (use["arn"], use["name"]):
                return use
        raise AwsError("ResourceNotFoundException", f"The provided {kind} identifier could not be found.")

    def _new_use(self, kind: str, path: str, name: str, model_arn: str, asked: dict, region: str) -> str:
        for use in self._uses(kind, region):
            if (
                asked.get("clientRequestToken")
                and use["asked"].get("clientRequestToken") == asked["clientRequestToken"]
            ):
                if use["asked"] != asked:
                    raise AwsError("ConflictException", "This clientRequestToken was used with other parameters.")
                return use["arn"]
            if use["name"] == name:
                raise invalid(f"The name {name} is in use.")
        arn = f"arn:aws:bedrock:{region}:{ACCOUNT}:{path}/{new_id('', 12, LOWER)}"
        use = {
            "arn": arn,
            "name": name,
            "model": model_arn,
            "region": region,
            "created_at": time.time(),
            "asked": asked,
        }
        self.store.add(kind, arn, use)
        return arn

    def do_CreateCustomModelDeployment(self, asked: dict, region: str) -> dict:
        model = self._need_model(asked["modelArn"], region)
        if not model["base"].startswith(ON_DEMAND):
            raise invalid(f"On-demand deployment does not take models of {model['base']}: use provisioned throughput.")
        name = asked["modelDeploymentName"]
        arn = self._new_use("deployment", "custom-model-deployment", name, model["arn"], asked, region)
        return {"customModelDeploymentArn": arn}

    def do_GetCustomModelDeployment(self, asked: dict, region: str) -> dict:
        use = self._use("deployment", asked["customModelDeploymentIdentifier"], region)
        view = {
            "customModelDeploymentArn": use["arn"],
            "modelDeploymentName": use["name"],
            "modelArn": use["model"],
            "createdAt": iso(use["created_at"]),
            "status": _ready(use, "Active"),
            "lastUpdatedAt": iso(use["created_at"]),
        }
        return view | ({"description": use["asked"]["description"]} if "description" in use["asked"] else {})

    def do_ListCustomModelDeployments(self, asked: dict, region: str) -> dict:
        rows = []
        for use in self._uses("deployment", region):
            row = {
                "customModelDeploymentArn": use["arn"],
                "customModelDeploymentName": use["name"],
                "modelArn": use["model"],
                "createdAt": iso(use["created_at"]),
                "status": _ready(use, "Active"),
                "lastUpdatedAt": iso(use["created_at"]),
            }
            if asked.get("modelArnEquals", use["model"]) == use["model"]:
                rows.append((row, use["name"], row["status"], use["created_at"]))
        return _listing("modelDeploymentSummaries", rows, asked)

    def do_DeleteCustomModelDeployment(self, asked: dict, region: str) -> dict:
        self.store.delete(
            "deployment", self._use("deployment", asked["customModelDeploymentIdentifier"], region)["arn"]
        )
        return {}

    def do_CreateProvisionedModelThroughput(self, asked: dict, region: str) -> dict:
        model = self._need_model(asked["modelId"], region)
        name = asked["provisionedModelName"]
        return {
            "provisionedModelArn": self._new_use("throughput", "provisioned-model", name, model["arn"], asked, region)
        }

    def _throughput(self, use: dict, region: str) -> dict:
        model = self.store.get("custom_model", use["model"])
        view = {
            "provisionedModelName": use["name"],
            "provisionedModelArn": use["arn"],
            "modelArn": use["model"],
            "desiredModelArn": use["model"],
            "foundationModelArn": base_arn(model["base"], region),
            "modelUnits": use["asked"]["modelUnits"],
            "desiredModelUnits": use["asked"]["modelUnits"],
            "status": _ready(use, "InService"),
            "creationTime": iso(use["created_at"]),
            "lastModifiedTime": iso(use["created_at"]),
        }
        if "commitmentDuration" in use["asked"]:
            days = {"OneMonth": 30, "SixMonths": 182}[use["asked"]["commitmentDuration"]]
            view["commitmentDuration"] = use["asked"]["commitmentDuration"]
            view["commitmentExpirationTime"] = iso(use["created_at"] + days * 86_400)
        return view

    def do_GetProvisionedModelThroughput(self, asked: dict, region: str) -> dict:
        return self._throughput(self._use("throughput", asked["provisionedModelId"], region), region)

    def do_ListProvisionedModelThroughputs(self, asked: dict, region: str) -> dict:
        rows = []
        for use in self._uses("throughput", region):
            row = self._throughput(use, region)
            if asked.get("modelArnEquals", use["model"]) == use["model"]:
                rows.append((row, use["name"], row["status"], use["created_at"]))
        return _listing("provisionedModelSummaries", rows, asked)

    def do_DeleteProvisionedModelThroughput(self, asked: dict, region: str) -> dict:
        use = self._use("throughput", asked["provisionedModelId"], region)
        if "commitmentDuration" in use["asked"]:
            raise AwsError("ConflictException", "A throughput with a commitment cannot be deleted before it ends.")
        self.store.delete("throughput", use["arn"])
        return {}

    # --- foundation models -------------------------------------------------------------------------------------------

    def do_ListFoundationModels(self, asked: dict, region: str) -> dict:
        found = []
        for view in _foundation(region):
            provider = asked.get("byProvider", view["providerName"])
            if (
                provider.lower() == view["providerName"].lower()
                and asked.get("byCustomizationType", "FINE_TUNING")
                in (view["customizationsSupported"] or ["FINE_TUNING"])
                and ("byCustomizationType" not in asked or view["customizationsSupported"])
                and asked.get("byOutputModality", "TEXT") == "TEXT"
                and asked.get("byInferenceType", view["inferenceTypesSupported"][0]) in view["inferenceTypesSupported"]
            ):
                found.append(view)
        return {"modelSummaries": found}

    def do_GetFoundationModel(self, asked: dict, region: str) -> dict:
        for view in _foundation(region):
            if asked["modelIdentifier"] in (view["modelId"], view["modelArn"]):
                return {"modelDetails": view}
        raise AwsError("ResourceNotFoundException", "The provided model identifier is invalid.")

    # --- inference -----------------------------------------------------------------------------------------------------

    def _voice(self, key: str, region: str) -> tuple[tuple[str, ...], str]:
        """(adapters, base id) behind a model id of the runtime."""
        for kind, ready in (("deployment", "Active"), ("throughput", "InService")):
            for use in self._uses(kind, region):
                if key in (use["arn"], use["name"]):
                    if _ready(use, ready) != ready:
                        raise AwsError("ModelNotReadyException", "The model is being prepared: try again in a moment.")
                    model = self.store.get("custom_model", use["model"])
                    return tuple(model["layers"]), model["base"]
        if self._model(key, region):
            raise invalid(
                "A custom model answers through a deployment or a provisioned throughput, not by its own ARN."
            )
        name = key.rsplit("foundation-model/", 1)[-1]
        name = re.sub(r"^(us|eu|apac)\.", "", name)
        for model in limits.MODELS:
            if model.service == "bedrock" and name == model.id.rpartition(":")[0]:
                return (), model.id
        raise invalid("The provided model identifier is invalid.")

    def _turn(self, asked: dict, region: str) -> Turn:
        layers, _ = self._voice(asked["modelId"], region)
        for field in (
            "toolConfig",
            "guardrailConfig",
            "promptVariables",
            "additionalModelRequestFields",
            "outputConfig",
        ):
            if asked.get(field):
                raise invalid(f"This local twin does not take {field}.")
        messages = [{"role": "system", "content": _text([part])} for part in asked.get("system", [])]
        last = "assistant"
        for message in asked.get("messages", []):
            if message["role"] == last or message["role"] not in ("user", "assistant"):
                raise invalid("A conversation must start with a user message and alternate between user and assistant.")
            last = message["role"]
            messages.append({"role": last, "content": _text(message["content"])})
        if last != "user":
            raise invalid("A conversation must end with a user message.")
        settings = asked.get("inferenceConfig", {})
        temperature, top_p = settings.get("temperature", 0.7), settings.get("topP", 0.9)
        stop = tuple(settings.get("stopSequences", []))
        return Turn(layers, messages, settings.get("maxTokens"), temperature, top_p, stop)

    def _say(self, turn: Turn) -> tuple[Iterator[str], str]:
        """The rest of the answer and its first piece: a refusal must come before the 200."""
        stream = self.aws.twin.speaker.say(turn)
        try:
            return stream, next(stream, "")
        except Refused as error:
            raise invalid(str(error)) from error

    def do_Converse(self, asked: dict, region: str) -> dict:
        began, turn = time.perf_counter(), self._turn(asked, region)
        stream, first = self._say(turn)
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": first + "".join(stream)}]}},
            "stopReason": _reason(turn),
            "usage": _usage(turn),
            "metrics": {"latencyMs": round(1000 * (time.perf_counter() - began))},
        }

    def do_ConverseStream(self, asked: dict, region: str) -> Response:
        began, turn = time.perf_counter(), self._turn(asked, region)
        stream, first = self._say(turn)

        def events() -> Iterator[bytes]:
            yield _event("messageStart", {"role": "assistant"})
            for piece in itertools.chain([first], stream):
                yield _event("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0})
            yield _event("contentBlockStop", {"contentBlockIndex": 0})
            yield _event("messageStop", {"stopReason": _reason(turn)})
            latency = round(1000 * (time.perf_counter() - began))
            yield _event("metadata", {"usage": _usage(turn), "metrics": {"latencyMs": latency}})

        return Response(events(), mimetype="application/vnd.amazon.eventstream")

    def do_InvokeModel(self, asked: dict, region: str) -> Response:
        """Nova's native body (the shape of Converse) or Llama's ({"prompt", "max_gen_len", …})."""
        _, base = self._voice(asked["modelId"], region)
        try:
            body = parse_json(asked.get("body", b""))
        except ValueError as error:
            raise invalid("Malformed input request: the body is not a JSON object.") from error
        llama = base.startswith("meta.")
        if not (isinstance(body.get("prompt"), str) if llama else "messages" in body):
            raise invalid(f"Malformed input request: required key [{'prompt' if llama else 'messages'}] not found.")
        if llama:
            settings = {
                "maxTokens": body.get("max_gen_len"),
                "temperature": body.get("temperature"),
                "topP": body.get("top_p"),
            }
            body = {"messages": [{"role": "user", "content": [{"text": body["prompt"]}]}], "inferenceConfig": settings}
        settings = body.get("inferenceConfig") or {}
        if isinstance(settings, dict) and "max_new_tokens" in settings:
            settings = {"maxTokens": settings["max_new_tokens"], **settings}
        converse = {"modelId": asked["modelId"], "messages": body["messages"]}
        if isinstance(settings, dict):
            settings = {key: value for key, value in settings.items() if value is not None and key != "max_new_tokens"}
        converse |= {"inferenceConfig": settings} | ({"system": body["system"]} if body.get("system") else {})
        shape = next(operation for _, _, operation in self.routes if operation.name == "Converse").input_shape
        try:
            check(shape, converse)
        except ValueError as error:
            raise invalid(str(error)) from error
        turn = self._turn(converse, region)
        stream, first = self._say(turn)
        text = first + "".join(stream)
        if llama:
            reason = "length" if turn.finish_reason == "length" else "stop"
            counts = {"prompt_token_count": turn.prompt_tokens, "generation_token_count": turn.answer_tokens}
            answer = {"generation": text, **counts, "stop_reason": reason}
        else:
            message = {"role": "assistant", "content": [{"text": text}]}
            answer = {"output": {"message": message}, "stopReason": _reason(turn), "usage": _usage(turn)}
        return Response(json.dumps(answer), mimetype="application/json")


_ERRORS = {
    "AccessDeniedException": 403, "ResourceNotFoundException": 404, "UnknownOperationException": 404,
    "ModelNotReadyException": 429,
}  # fmt: skip


# --- small things --------------------------------------------------------------------------------------------------------


def base_arn(model: str, region: str) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


def _base(name: str, region: str) -> limits.Model:
    """The model to train behind an id or ARN, which must be trainable in this region."""
    name = name.rsplit("foundation-model/", 1)[-1]
    for model in limits.MODELS:
        if model.service == "bedrock" and model.id == name and REGIONS[name.split(".")[0]] == region:
            return model
    raise invalid(
        f"The model {name[:80]} cannot be fine-tuned in {region}: ask list_foundation_models(byCustomizationType='FINE_TUNING')."
    )


def _hyperparameters(model: str, given: dict[str, str]) -> dict[str, float]:
    table = HYPERPARAMETERS[model.split(".")[0]]
    values = {name: default for name, (_, _, default) in table.items()}
    for name, text in given.items():
        if name not in table:
            raise invalid(f"Hyperparameter {name[:40]} is not one of {', '.join(table)}.")
        low, high, _ = table[name]
        whole = name != "learningRate"
        if (
            not re.fullmatch(r"\d{1,6}" if whole else r"\d*\.?\d+(?:[eE]-?\d{1,2})?", text)
            or not low <= float(text) <= high
        ):
            raise invalid(f"Hyperparameter {name} must be {'an integer ' if whole else ''}from {low:g} to {high:g}.")
        values[name] = float(text)
    return values


def _phases(job: dict) -> dict:
    """The three phases as the service shows them, from where the job is, or was when it ended."""
    order = ("validating_files", "queued", "running")
    status = job["status"]
    at = job.get("stopped_in") or (job.get("failed_in") if status == "failed" else status)
    place = order.index(at) if at in order else len(order)
    ended = {"failed": "Failed", "stopping": "Stopping", "cancelled": "Stopped"}.get(status, "InProgress")
    phases = {}
    for number, name in enumerate(("validationDetails", "dataProcessingDetails", "trainingDetails")):
        state = "Completed" if number < place else ended if number == place else "NotStarted"
        if status == "delivering" and number == 2:
            state = "InProgress"
        phases[name] = {"status": state}
        if state != "NotStarted":
            phases[name] |= {
                "creationTime": iso(job["created_at"]),
                "lastModifiedTime": iso(job["finished_at"] or time.time()),
            }
    return phases


def _ready(use: dict, name: str) -> str:
    return name if time.time() - use["created_at"] >= READY_AFTER else "Creating"


def _listing(key: str, rows: list[tuple], asked: dict) -> dict:
    """Filter, sort and cut (row, name, status, created) tuples as every List operation does."""
    after = asked.get("creationTimeAfter") or asked.get("createdAfter")
    before = asked.get("creationTimeBefore") or asked.get("createdBefore")
    kept = [
        (created, row)
        for row, name, status, created in rows
        if asked.get("nameContains", "") in name
        and asked.get("statusEquals", status) == status
        and (not after or created >= _time(after).timestamp())
        and (not before or created <= _time(before).timestamp())
    ]
    kept.sort(key=lambda pair: pair[0], reverse=asked.get("sortOrder") != "Ascending")
    token = asked.get("nextToken", "0")
    if not re.fullmatch(r"\d{1,9}", token):
        raise invalid("The nextToken is not one of this list.")
    start, size = int(token), asked.get("maxResults", 1000)
    page = {key: [row for _, row in kept[start : start + size]]}
    return page | ({"nextToken": str(start + size)} if start + size < len(kept) else {})


def _foundation(region: str) -> Iterator[dict]:
    """The models this twin knows in a region: those that train there, and the ids that answer everywhere."""
    for model in limits.MODELS:
        if model.service != "bedrock":
            continue
        provider = model.id.split(".")[0]
        trains = REGIONS[provider] == region
        for id in (model.id, model.id.rpartition(":")[0]):
            tunable = id == model.id
            if tunable and not trains:
                continue
            yield {
                "modelArn": base_arn(id, region),
                "modelId": id,
                "modelName": "local " + re.sub(r"(-instruct)?-v\d.*", "", id.split(".")[1]),
                "providerName": {"amazon": "Amazon", "meta": "Meta"}[provider],
                "inputModalities": ["TEXT"],
                "outputModalities": ["TEXT"],
                "responseStreamingSupported": True,
                "customizationsSupported": ["FINE_TUNING"] if tunable else [],
                "inferenceTypesSupported": ["PROVISIONED"] if tunable else ["ON_DEMAND"],
                "modelLifecycle": {"status": "ACTIVE"},
            }


def _typed(member: Shape, text: str):
    """A query value as JSON would have it."""
    if member.type_name in ("integer", "long"):
        return int(text) if re.fullmatch(r"-?\d{1,9}", text) else text
    if member.type_name == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    return text


def _text(blocks: list[dict]) -> str:
    if not blocks or not all(set(block) == {"text"} and isinstance(block["text"], str) for block in blocks):
        raise invalid("This local twin takes text blocks only.")
    return "\n".join(block["text"] for block in blocks)


def _reason(turn: Turn) -> str:
    return "max_tokens" if turn.finish_reason == "length" else "stop_sequence" if turn.stopped_by else "end_turn"


def _usage(turn: Turn) -> dict:
    total = turn.prompt_tokens + turn.answer_tokens
    return {"inputTokens": turn.prompt_tokens, "outputTokens": turn.answer_tokens, "totalTokens": total}


def _event(name: str, payload: dict) -> bytes:
    """One message of AWS's event stream: lengths, their CRC, headers, payload, CRC of it all (big endian)."""
    body = json.dumps(payload).encode()
    headers = b""
    for key, value in ((":event-type", name), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))
