"""Bedrock in the twin: customization jobs, custom models, deployments, provisioned throughput, foundation models.

Routes, the checks of requests and the check of every response come from botocore's own service model (`shapes`); the
answers of models are in `converse`. Which model trains where, its limits and formats: `afina.jsonl.limits`, facts with
their sources. Texts of errors are ours where no source gives them.
"""

from __future__ import annotations

import functools
import json
import math
import re
import string
import time
from collections.abc import Callable
from typing import Any

from afina.cloud import iam
from afina.cloud.converse import BedrockRuntime, Say
from afina.cloud.foundation import HYPERPARAMETERS, MODELS, base_arn, find_base, foundation_models, read_hyperparameters
from afina.cloud.iam import ACCOUNT, split_uri
from afina.cloud.intake import csv_text, fail, forget_model, job_event, job_folder
from afina.cloud.shapes import Api, AwsError, Handler, instant, invalid, iso
from afina.cloud.store import Store, new_id, now

READY_AFTER = 1.0  # seconds a deployment or throughput is "Creating" here; minutes on AWS
LOWER = string.ascii_lowercase + string.digits
ON_DEMAND = ("amazon.nova-", "meta.llama3-3-70b")  # what create_custom_model_deployment takes
STATUS = {
    "validating_files": "InProgress", "queued": "InProgress", "running": "InProgress", "delivering": "InProgress",
    "succeeded": "Completed", "failed": "Failed", "stopping": "Stopping", "cancelled": "Stopped",
}  # fmt: skip
PHASES = ("validationDetails", "dataProcessingDetails", "trainingDetails")
PLACES = {"validating_files": 0, "queued": 1, "running": 2, "delivering": 2}  # of a status among the phases
OPERATIONS = {  # of each kind of document: their noun, and the list in the answer of the one that lists
    "job": ("ModelCustomizationJob", "modelCustomizationJobSummaries"),
    "custom_model": ("CustomModel", "modelSummaries"),
    "deployment": ("CustomModelDeployment", "modelDeploymentSummaries"),
    "throughput": ("ProvisionedModelThroughput", "provisionedModelSummaries"),
}
USES = {  # of what makes a model answer: where a request has its name and its model, the ARN's kind, the answer
    "deployment": ("modelDeploymentName", "modelArn", "custom-model-deployment", "customModelDeploymentArn"),
    "throughput": ("provisionedModelName", "modelId", "provisioned-model", "provisionedModelArn"),
}
COMMITMENTS = {"OneMonth": 30, "SixMonths": 182}  # days


class Bedrock:
    """Requests signed for "bedrock": the control service and the runtime together.

    `s3(method, bucket, key, body)` gives (status, body) of a request to the twin's S3; `wake` tells the supervisor of news.
    """

    def __init__(self, store: Store, s3: Callable[..., tuple[int, bytes]], say: Say, wake: Callable[[], None]):
        self.store, self.s3, self.wake = store, s3, wake
        handlers: dict[str, Handler] = {
            name.removeprefix("do_"): getattr(owner, name)
            for owner in (self, BedrockRuntime(say, self.find_voice))
            for name in dir(owner)
            if name.startswith("do_")
        }
        self.facts = {
            "job": self._job_facts, "custom_model": self._model_facts, "deployment": self._use_facts,
            "throughput": self._use_facts,
        }  # fmt: skip
        for kind, (noun, _) in OPERATIONS.items():
            handlers[f"Get{noun}"] = functools.partial(self._get, kind)
            handlers[f"List{noun}s"] = functools.partial(self._list, kind)
        for kind in USES:
            handlers[f"Create{OPERATIONS[kind][0]}"] = functools.partial(self._create_use, kind)
            handlers[f"Delete{OPERATIONS[kind][0]}"] = functools.partial(self._delete_use, kind)
        self.api = Api(("bedrock", "bedrock-runtime"), handlers)

    def __call__(self, environ, start_response, region: str):
        return self.api(environ, start_response, region)

    # --- every kind of document --------------------------------------------------------------------------------------

    def _all(self, kind: str, region: str) -> list[dict]:
        return [one for one in self.store.all(kind) if one.get("region") == region]  # OpenAI's jobs have no region

    def _seek(self, kind: str, key: str, region: str) -> dict | None:
        """The document with this ARN or name."""
        return next((one for one in self._all(kind, region) if key in (one["arn"], _name(one))), None)

    def _find(self, kind: str, key: str, region: str) -> dict:
        found = self._seek(kind, key, region)
        if found is None:
            noun = kind.removeprefix("custom_")
            raise AwsError("ResourceNotFoundException", f"The provided {noun} identifier could not be found.")
        return found

    def _again(self, kind: str, asked: dict, region: str) -> str | None:
        """The ARN of what an earlier request with the same clientRequestToken made."""
        token = asked.get("clientRequestToken")
        for one in self._all(kind, region) if token else []:
            if one["asked"].get("clientRequestToken") == token:
                if one["asked"] != asked:
                    raise AwsError("ConflictException", "This clientRequestToken was used with other parameters.")
                return one["arn"]
        return None

    def _get(self, kind: str, asked: dict, region: str) -> dict:
        (key,) = asked.values()
        return self.facts[kind](self._find(kind, key, region))

    def _list(self, kind: str, asked: dict, region: str) -> dict:
        """Filter, sort and cut as every List operation does."""
        after = asked.get("creationTimeAfter") or asked.get("createdAfter")
        before = asked.get("creationTimeBefore") or asked.get("createdBefore")
        least, most = (instant(text) if text else None for text in (after, before))
        kept = [
            one
            for one in self._all(kind, region)
            if asked.get("nameContains", "") in _name(one)
            and (least is None or one["created_at"] >= least)
            and (most is None or one["created_at"] <= most)
        ]
        kept.sort(key=lambda one: one["created_at"], reverse=asked.get("sortOrder") != "Ascending")
        rows = [self.facts[kind](one) for one in kept]
        for name in asked:
            if name.endswith(("Equals", "Status")):
                rows = [row for row in rows if row[name.removesuffix("Equals")] == asked[name]]
        token = asked.get("nextToken", "0")
        if not re.fullmatch(r"\d{1,9}", token):
            raise invalid("The nextToken is not one of this list.")
        start, end = int(token), int(token) + asked.get("maxResults", 1000)
        return {OPERATIONS[kind][1]: rows[start:end]} | ({"nextToken": str(end)} if end < len(rows) else {})

    # --- jobs --------------------------------------------------------------------------------------------------------

    def do_CreateModelCustomizationJob(self, asked: dict, region: str) -> dict:
        if arn := self._again("job", asked, region):
            return {"jobArn": arn}
        model = find_base(asked["baseModelIdentifier"], region)
        train, valid = _data(asked)
        values = read_hyperparameters(model.id, asked.get("hyperParameters", {}))
        self._refuse_taken_names(asked, region)
        short = new_id("", 12, LOWER)
        arn = f"arn:aws:bedrock:{region}:{ACCOUNT}:model-customization-job/{model.id}/{short}"
        self._refuse_no_access(asked["roleArn"], arn, train, valid, asked["outputDataConfig"]["s3Uri"])
        default = HYPERPARAMETERS[model.id.split(".")[0]]["learningRate"][2]
        job: dict = {
            "id": short, "service": "bedrock", "status": "validating_files", "arn": arn, "region": region,
            "asked": asked, "model": model.id, "family": model.id, "layers": [], "method": "supervised",
            "format": model.format, "seed": 0, "training_file": train, "validation_file": valid,
            # the multiplier 2 is the twin's own "auto": the service's default rate stands for it
            "hyperparameters": {
                "n_epochs": int(values["epochCount"]), "batch_size": "auto",
                "learning_rate_multiplier": 2 * values["learningRate"] / default,
                "warmup": int(values.get("learningRateWarmupSteps", 0)),
            },
            "given": {key: f"{value:g}" for key, value in values.items()}, "new_model": f"bedrock:{short}",
            "created_at": time.time(), "finished_at": None, "error": None, "metadata": None,
        }  # fmt: skip
        self.store.add("job", short, job)
        job_event(self.store, short, f"Created model customization job: {arn}")
        self.wake()
        return {"jobArn": arn}

    def _refuse_taken_names(self, asked: dict, region: str) -> None:
        jobs, name = self._all("job", region), asked["customModelName"]
        if any(_name(job) == asked["jobName"] for job in jobs):
            raise AwsError("ConflictException", f"The job name {asked['jobName']} is in use.")
        coming = [job["asked"]["customModelName"] for job in jobs if STATUS[job["status"]] == "InProgress"]
        if name in coming or self._seek("custom_model", name, region):
            raise AwsError("ConflictException", f"The model name {name} is in use.")

    def _refuse_no_access(self, role_arn: str, job_arn: str, train: str, valid: str | None, output: str) -> None:
        """The role must exist, trust Bedrock, and reach the buckets, which must exist."""
        role = iam.find_role(role_arn)
        if role is None or not iam.trusts_bedrock(role, job_arn):
            raise invalid(
                "Could not assume provided IAM role. Please verify that the role exists and that its trust policy "
                "lets bedrock.amazonaws.com assume it for this account and job."
            )
        for uri in filter(None, (train, valid, output)):
            bucket, key = split_uri(uri)
            if self.s3("HEAD", bucket)[0] != 200:
                raise invalid(f"The bucket {bucket} does not exist.")
            place, path = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{key}"
            use = ("s3:PutObject", f"{path.rstrip('/')}/x") if uri == output else ("s3:GetObject", path)
            for action, resource in (("s3:ListBucket", place), use):
                if not iam.allows(role, action, resource):
                    what = f"{action.split(':')[1]} permissions to s3://{bucket}"
                    raise invalid(f"Could not validate {what} with the provided IAM role.")

    def _job_facts(self, job: dict) -> dict:
        given, status = job["asked"], STATUS[job["status"]]
        facts = given | {
            "jobArn": job["arn"],
            "outputModelName": given["customModelName"],
            "status": status,
            "statusDetails": _phases(job),
            "creationTime": iso(job["created_at"]),
            "lastModifiedTime": iso(job["finished_at"] or time.time()),
            "baseModelArn": base_arn(job["model"], job["region"]),
            "hyperParameters": job["given"],
            "validationDataConfig": given.get("validationDataConfig", {"validators": []}),
            "customizationType": "FINE_TUNING",
        }
        if job["finished_at"]:
            facts["endTime"] = iso(job["finished_at"])
        if status == "Failed":
            facts["failureMessage"] = job["error"]["message"]
        if status == "Completed":
            facts |= {"outputModelArn": job["model_arn"], "customModelArn": job["model_arn"], **job["figures"]}
        return facts

    def do_StopModelCustomizationJob(self, asked: dict, region: str) -> dict:
        def stop(job: dict) -> None:
            if (state := STATUS[job["status"]]) != "InProgress":
                raise AwsError("ConflictException", f"The job is {state}: only a job in progress can be stopped.")
            job.update(stopped_in=job["status"], status="stopping")

        job = self._find("job", asked["jobIdentifier"], region)
        self.store.edit("job", job["id"], stop)
        self.wake()
        return {}

    def deliver(self, job: dict) -> None:
        """Write a trained job's metrics to S3 and register its model. A bucket that is gone fails the job."""
        table = json.loads((job_folder(self.store, job["id"]) / "metrics.json").read_text(encoding="utf-8"))
        bucket, prefix = split_uri(job["asked"]["outputDataConfig"]["s3Uri"])
        root = "/".join(filter(None, (prefix.strip("/"), f"model-customization-job-{job['id']}")))
        figures: dict[str, Any] = {"trainingMetrics": {"trainingLoss": table[-1]["train_loss"]}}
        files = {"training_artifacts/step_wise_training_metrics.csv": _metrics(table, "train_loss", "training_loss")}
        measured = [row for row in table if row["valid_loss"] != ""]
        if measured:
            name = "validation_artifacts/post_fine_tuning_validation/validation/validation_metrics.csv"
            files[name] = _metrics(measured, "valid_loss", "validation_loss")
            figures["validationMetrics"] = [{"validationLoss": measured[-1]["valid_loss"]}]
        for name, content in files.items():
            if self.s3("PUT", bucket, f"{root}/{name}", content)[0] != 200:
                fail(self.store, job["id"], "s3", f"Could not write the results to s3://{bucket}/{root}.")
                return
        arn = f"arn:aws:bedrock:{job['region']}:{ACCOUNT}:custom-model/{job['model']}/{new_id('', 12, LOWER)}"
        model = {
            "arn": arn, "name": job["asked"]["customModelName"], "region": job["region"], "job": job["id"],
            "base": job["model"], "layers": job["new_layers"], "created_at": time.time(),
        }  # fmt: skip

        def done(found: dict) -> None:
            if found["status"] == "delivering":
                found.update(status="succeeded", finished_at=now(), model_arn=arn, figures=figures)
                self.store.add("custom_model", arn, model)

        self.store.edit("job", job["id"], done)

    # --- custom models -----------------------------------------------------------------------------------------------

    def _model_facts(self, model: dict) -> dict:
        job = self.store.get("job", model["job"])
        assert job is not None, "jobs are never deleted"
        base = base_arn(model["base"], model["region"])
        return self._job_facts(job) | {
            "modelArn": model["arn"],
            "modelName": model["name"],
            "baseModelArn": base,
            "foundationModelArn": base,
            "baseModelName": model["base"].split(":")[0],
            "creationTime": iso(model["created_at"]),
            "ownerAccountId": ACCOUNT,
            "modelStatus": "Active",
        }

    def do_DeleteCustomModel(self, asked: dict, region: str) -> dict:
        model = self._find("custom_model", asked["modelIdentifier"], region)
        if any(use["model"] == model["arn"] for kind in USES for use in self._all(kind, region)):
            raise AwsError("ConflictException", "The model is deployed: delete its deployment or throughput first.")
        self.store.delete("custom_model", model["arn"])
        for checkpoint in self.store.all("checkpoint", model["job"]):
            forget_model(self.store, checkpoint["fine_tuned_model_checkpoint"])
        return {}

    # --- deployments and provisioned throughput ------------------------------------------------------------------------

    def _create_use(self, kind: str, asked: dict, region: str) -> dict:
        named, of_model, path, answer = USES[kind]
        model, name = self._find("custom_model", asked[of_model], region), asked[named]
        if kind == "deployment" and not model["base"].startswith(ON_DEMAND):
            raise invalid(f"On-demand deployment does not take models of {model['base']}: use provisioned throughput.")
        arn = self._again(kind, asked, region)
        if arn is None:
            if any(use["name"] == name for use in self._all(kind, region)):
                raise invalid(f"The name {name} is in use.")
            arn = f"arn:aws:bedrock:{region}:{ACCOUNT}:{path}/{new_id('', 12, LOWER)}"
            use = {"arn": arn, "name": name, "model": model["arn"], "region": region, "created_at": time.time()}
            self.store.add(kind, arn, use | {"asked": asked})
        return {answer: arn}

    def _use_facts(self, use: dict) -> dict:
        """Of a deployment or a throughput: each shape takes what it knows."""
        base = self._find("custom_model", use["model"], use["region"])["base"]
        facts = use["asked"] | {
            "status": _state(use),
            "foundationModelArn": base_arn(base, use["region"]),
            "desiredModelUnits": use["asked"].get("modelUnits"),
            **dict.fromkeys(("customModelDeploymentArn", "provisionedModelArn"), use["arn"]),
            **dict.fromkeys(("modelDeploymentName", "customModelDeploymentName"), use["name"]),
            **dict.fromkeys(("modelArn", "desiredModelArn"), use["model"]),
            **dict.fromkeys(("createdAt", "creationTime", "lastUpdatedAt", "lastModifiedTime"), iso(use["created_at"])),
        }
        if days := COMMITMENTS.get(facts.get("commitmentDuration", "")):
            facts["commitmentExpirationTime"] = iso(use["created_at"] + days * 86_400)
        return facts

    def _delete_use(self, kind: str, asked: dict, region: str) -> dict:
        (key,) = asked.values()
        use = self._find(kind, key, region)
        if "commitmentDuration" in use["asked"]:
            raise AwsError("ConflictException", "A throughput with a commitment cannot be deleted before it ends.")
        self.store.delete(kind, use["arn"])
        return {}

    def find_voice(self, key: str, region: str) -> tuple[tuple[str, ...], str]:
        """(adapters, base id) behind a model id of the runtime."""
        for kind in USES:
            if use := self._seek(kind, key, region):
                if _state(use) == "Creating":
                    raise AwsError("ModelNotReadyException", "The model is being prepared: try again in a moment.")
                model = self._find("custom_model", use["model"], region)
                return tuple(model["layers"]), model["base"]
        if self._seek("custom_model", key, region):
            raise invalid(
                "A custom model answers through a deployment or a provisioned throughput, not by its own ARN."
            )
        name = re.sub(r"^(us|eu|apac)\.", "", key.rsplit("foundation-model/", 1)[-1])
        for known in MODELS:
            if name == known.id.rpartition(":")[0]:
                return (), known.id
        raise invalid("The provided model identifier is invalid.")

    # --- foundation models -------------------------------------------------------------------------------------------

    def do_ListFoundationModels(self, asked: dict, region: str) -> dict:
        filters = {
            "byCustomizationType": "customizationsSupported", "byOutputModality": "outputModalities",
            "byInferenceType": "inferenceTypesSupported",
        }  # fmt: skip
        found = [
            view
            for view in foundation_models(region)
            if asked.get("byProvider", view["providerName"]).lower() == view["providerName"].lower()
            and all(asked[by] in view[name] for by, name in filters.items() if by in asked)
        ]
        return {"modelSummaries": found}

    def do_GetFoundationModel(self, asked: dict, region: str) -> dict:
        for view in foundation_models(region):
            if asked["modelIdentifier"] in (view["modelId"], view["modelArn"]):
                return {"modelDetails": view}
        raise AwsError("ResourceNotFoundException", "The provided model identifier is invalid.")


# --- what is asked -------------------------------------------------------------------------------------------------------


def _data(asked: dict) -> tuple[str, str | None]:
    """Where the training and the validation file are; what this twin does not take is refused."""
    kind = asked.get("customizationType", "FINE_TUNING")
    if kind != "FINE_TUNING":
        raise invalid(f"This local twin trains FINE_TUNING only, not {kind}.")
    for field in ("customModelKmsKeyId", "vpcConfig", "customizationConfig"):
        if field in asked:
            raise invalid(f"This local twin does not take {field}.")
    train = asked["trainingDataConfig"].get("s3Uri")
    if train is None:
        raise invalid("trainingDataConfig.s3Uri is required.")
    checks = asked.get("validationDataConfig", {}).get("validators", [])
    if len(checks) > 1:
        raise invalid("Only one validation dataset is taken for this model.")
    return train, checks[0]["s3Uri"] if checks else None


# --- what is shown -------------------------------------------------------------------------------------------------------


def _name(document: dict) -> str:
    return document["name"] if "name" in document else document["asked"]["jobName"]


def _phases(job: dict) -> dict:
    """The three phases as the service shows them, from where the job is, or was when it ended."""
    at = PLACES.get(job.get("stopped_in") or job.get("failed_in") or job["status"], len(PHASES))
    here = {"failed": "Failed", "stopping": "Stopping", "cancelled": "Stopped"}.get(job["status"], "InProgress")
    times = {"creationTime": iso(job["created_at"]), "lastModifiedTime": iso(job["finished_at"] or time.time())}
    phases = {}
    for place, name in enumerate(PHASES):
        status = "Completed" if place < at else here if place == at else "NotStarted"
        phases[name] = {"status": status} | (times if place <= at else {})
    return phases


def _state(use: dict) -> str:
    if time.time() - use["created_at"] < READY_AFTER:
        return "Creating"
    return "InService" if ":provisioned-model/" in use["arn"] else "Active"


def _metrics(table: list[dict], key: str, title: str) -> bytes:
    """The service's CSV of one loss, a line a step; steps and epochs count from 0."""
    rows = [(row["step"] - 1, math.ceil(row["epoch"] - 1e-6) - 1, row[key], math.exp(row[key])) for row in table]
    return csv_text(("step_number", "epoch_number", title, "perplexity"), rows).encode()
