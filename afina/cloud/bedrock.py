"""Bedrock in the twin: customization jobs, custom models, deployments, provisioned throughput, foundation models.

Routes and the checks of requests and responses come from botocore's own service model (`shapes`). Texts of errors are ours
where no source gives them.
"""

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
from afina.cloud.foundation import MODELS, TABLE, base_arn, find_base, foundation_models, read_hyperparameters
from afina.cloud.iam import ACCOUNT, split_uri
from afina.cloud.intake import csv_text, fail, forget_model, job_event, job_folder
from afina.cloud.shapes import Api, AwsError, Handler, instant, iso, must
from afina.cloud.store import Store, new_id, now

READY_AFTER = 1.0  # seconds a deployment or throughput is "Creating" here; minutes on AWS
LOWER = string.ascii_lowercase + string.digits
USES, PLACES = TABLE["uses"], TABLE["places"]
CONFLICT, NOT_FOUND = "ConflictException", "ResourceNotFoundException"


class Bedrock:
    """Requests signed for "bedrock": the control service and the runtime together, at `api`.

    `s3(method, bucket, key, body)` gives (status, body) of a request to the twin's S3; `wake` tells the supervisor of news.
    """

    def __init__(self, store: Store, s3: Callable[..., tuple[int, bytes]], say: Say, wake: Callable[[], None]):
        self.store, self.s3, self.wake = store, s3, wake
        self.facts = {"job": self._job_facts, "custom_model": self._model_facts} | dict.fromkeys(USES, self._use_facts)
        owners = (self, BedrockRuntime(say, self.find_voice))
        names = ((owner, name) for owner in owners for name in dir(owner) if name.startswith("do_"))
        handlers: dict[str, Handler] = {name.removeprefix("do_"): getattr(owner, name) for owner, name in names}
        for kind, noun in TABLE["nouns"].items():
            verbs = {f"Get{noun}": self._get, f"List{noun}s": self._list}
            verbs |= {f"Delete{noun}": self._delete} if kind != "job" else {}
            verbs |= {f"Create{noun}": self._create_use} if kind in USES else {}
            handlers |= {name: functools.partial(does, kind) for name, does in verbs.items()}
        self.api = Api(("bedrock", "bedrock-runtime"), handlers)

    def _all(self, kind: str, region: str) -> list[dict]:
        return [one for one in self.store.all(kind) if one.get("region") == region]  # OpenAI's jobs have no region

    def _seek(self, kind: str, key: str, region: str) -> dict | None:
        """The document with this ARN or name."""
        return next((one for one in self._all(kind, region) if key in (one["arn"], _name(one))), None)

    def _find(self, kind: str, key: str, region: str) -> dict:
        found = self._seek(kind, key, region)
        if found is None:
            raise AwsError(f"The provided {kind.removeprefix('custom_')} identifier could not be found.", NOT_FOUND)
        return found

    def _again(self, kind: str, asked: dict, region: str) -> str | None:
        """The ARN of what an earlier request with the same clientRequestToken made."""
        token = asked.get("clientRequestToken")
        for one in self._all(kind, region) if token else []:
            if one["asked"].get("clientRequestToken") == token:
                must(one["asked"] == asked, "This clientRequestToken was used with other parameters.", CONFLICT)
                return one["arn"]
        return None

    def _get(self, kind: str, asked: dict, region: str) -> dict:
        (key,) = asked.values()
        return self.facts[kind](self._find(kind, key, region))

    def _list(self, kind: str, asked: dict, region: str) -> dict:
        """Filter, sort and cut as every List operation does."""
        kept = [one for one in self._all(kind, region) if asked.get("nameContains", "") in _name(one)]
        for name in asked:
            if name.endswith("After"):
                kept = [one for one in kept if one["created_at"] >= (instant(asked[name]) or 0)]
            elif name.endswith("Before"):
                kept = [one for one in kept if one["created_at"] <= (instant(asked[name]) or 0)]
        kept.sort(key=lambda one: one["created_at"], reverse=asked.get("sortOrder") != "Ascending")
        rows = [self.facts[kind](one) for one in kept]
        for name in asked:
            if name.endswith(("Equals", "Status")):
                rows = [row for row in rows if row[name.removesuffix("Equals")] == asked[name]]
        token = asked.get("nextToken", "0")
        must(re.fullmatch(r"\d{1,9}", token), "The nextToken is not one of this list.")
        end = int(token) + asked.get("maxResults", 1000)
        more = {"nextToken": str(end) if end < len(rows) else None}
        return dict.fromkeys(TABLE["lists"], rows[int(token) : end]) | more

    def _delete(self, kind: str, asked: dict, region: str) -> dict:
        (key,) = asked.values()
        found = self._find(kind, key, region)
        idle = all(use["model"] != found["arn"] for use_kind in USES for use in self._all(use_kind, region))
        must(idle, "The model is deployed: delete its deployment or throughput first.", CONFLICT)
        free = "commitmentDuration" not in found.get("asked", {})
        must(free, "A throughput with a commitment cannot be deleted before it ends.", CONFLICT)
        self.store.delete(kind, found["arn"])
        for checkpoint in self.store.all("checkpoint", found["job"]) if kind == "custom_model" else []:
            forget_model(self.store, checkpoint["fine_tuned_model_checkpoint"])
        return {}

    def do_CreateModelCustomizationJob(self, asked: dict, region: str) -> dict:
        if arn := self._again("job", asked, region):
            return {"jobArn": arn}
        model = find_base(asked["baseModelIdentifier"], region)
        train, valid = _data(asked)
        values = read_hyperparameters(model.id, asked.get("hyperParameters", {}))
        jobs, name = self._all("job", region), asked["customModelName"]
        must(asked["jobName"] not in map(_name, jobs), f"The job name {asked['jobName']} is in use.", CONFLICT)
        coming = [job["asked"]["customModelName"] for job in jobs if job["status"] in PLACES]
        free = name not in coming and self._seek("custom_model", name, region) is None
        must(free, f"The model name {name} is in use.", CONFLICT)
        arn, short = _new_arn(region, f"model-customization-job/{model.id}")
        self._refuse_no_access(asked["roleArn"], arn, train, valid, asked["outputDataConfig"]["s3Uri"])
        job: dict = {
            "id": short, "service": "bedrock", "status": "validating_files", "arn": arn, "region": region,
            "asked": asked, "model": model.id, "family": model.id, "layers": [], "method": "supervised",
            "format": model.format, "seed": 0, "training_file": train, "validation_file": valid,
            # the multiplier 2 is the twin's own "auto": the service's default rate stands for it
            "hyperparameters": {
                "n_epochs": int(values["epochCount"]), "batch_size": "auto",
                "learning_rate_multiplier": 2 * values["learningRate"] / read_hyperparameters(model.id, {})["learningRate"],
                "warmup": int(values.get("learningRateWarmupSteps", 0)),
            },
            "given": {key: f"{value:g}" for key, value in values.items()}, "new_model": f"bedrock:{short}",
            "created_at": time.time(), "finished_at": None, "error": None, "metadata": None,
        }  # fmt: skip
        self.store.add("job", short, job)
        job_event(self.store, short, f"Created model customization job: {arn}")
        self.wake()
        return {"jobArn": arn}

    def _refuse_no_access(self, role_arn: str, job_arn: str, train: str, valid: str | None, output: str) -> None:
        """The role must exist, trust Bedrock, and reach the buckets, which must exist."""
        role = iam.find_role(role_arn)
        trust = "its trust policy lets bedrock.amazonaws.com assume it for this account and job"
        message = f"Could not assume provided IAM role. Please verify that the role exists and that {trust}."
        must(role is not None and iam.trusts_bedrock(role, job_arn), message)
        for uri in filter(None, (train, valid, output)):
            bucket, key = split_uri(uri)
            must(self.s3("HEAD", bucket)[0] == 200, f"The bucket {bucket} does not exist.")
            place, path = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{key}"
            use = ("PutObject", f"{path.rstrip('/')}/x") if uri == output else ("GetObject", path)
            for action, resource in (("ListBucket", place), use):
                message = f"Could not validate {action} permissions to s3://{bucket} with the provided IAM role."
                must(iam.allows(role, f"s3:{action}", resource), message)

    def _job_facts(self, job: dict) -> dict:
        given, done, model = job["asked"], job["finished_at"], job.get("model_arn")
        times = {"creationTime": iso(job["created_at"]), "lastModifiedTime": iso(done or time.time())}
        known = {"validationDataConfig": {"validators": []}} | given | times | job.get("figures", {})
        return known | {
            "jobArn": job["arn"],
            "outputModelName": given["customModelName"],
            "status": _shown(job),
            "statusDetails": _phases(job, times),
            "endTime": iso(done) if done else None,
            "baseModelArn": base_arn(job["model"], job["region"]),
            "hyperParameters": job["given"],
            "customizationType": "FINE_TUNING",
            "failureMessage": (job.get("error") or {}).get("message"),
            **dict.fromkeys(("outputModelArn", "customModelArn"), model),
        }

    def do_StopModelCustomizationJob(self, asked: dict, region: str) -> dict:
        with self.store.edit("job", self._find("job", asked["jobIdentifier"], region)["id"]) as job:
            message = f"The job is {_shown(job)}: only a job in progress can be stopped."
            must(job["status"] in PLACES, message, CONFLICT)
            job.update(stopped_in=job["status"], status="stopping")
        self.wake()
        return {}

    def deliver(self, job: dict) -> None:
        """Write a trained job's metrics to S3 and register its model. A bucket that is gone fails the job."""
        table = json.loads((job_folder(self.store, job["id"]) / "metrics.json").read_text(encoding="utf-8"))
        bucket, prefix = split_uri(job["asked"]["outputDataConfig"]["s3Uri"])
        root = "/".join(filter(None, (prefix.strip("/"), f"model-customization-job-{job['id']}")))
        figures: dict[str, Any] = {"trainingMetrics": {"trainingLoss": table[-1]["train_loss"]}}
        files = {TABLE["training_csv"]: _metrics(table, "train_loss", "training_loss")}
        if measured := [row for row in table if row["valid_loss"] != ""]:
            files[TABLE["validation_csv"]] = _metrics(measured, "valid_loss", "validation_loss")
            figures["validationMetrics"] = [{"validationLoss": measured[-1]["valid_loss"]}]
        for name, content in files.items():
            if self.s3("PUT", bucket, f"{root}/{name}", content)[0] != 200:
                fail(self.store, job["id"], "s3", f"Could not write the results to s3://{bucket}/{root}.")
                return
        arn, _ = _new_arn(job["region"], f"custom-model/{job['model']}")
        model = {
            "arn": arn, "name": job["asked"]["customModelName"], "region": job["region"], "job": job["id"],
            "base": job["model"], "layers": job["new_layers"], "created_at": time.time(),
        }  # fmt: skip
        with self.store.edit("job", job["id"]) as found:
            if found["status"] == "delivering":
                found.update(status="succeeded", finished_at=now(), model_arn=arn, figures=figures)
                self.store.add("custom_model", arn, model)

    def _model_facts(self, model: dict) -> dict:
        job = self.store.get("job", model["job"])
        assert job is not None, "jobs are never deleted"
        return self._job_facts(job) | {
            "modelArn": model["arn"],
            "modelName": model["name"],
            "baseModelName": model["base"].split(":")[0],
            "creationTime": iso(model["created_at"]),
            "ownerAccountId": ACCOUNT,
            "modelStatus": "Active",
        }

    def _create_use(self, kind: str, asked: dict, region: str) -> dict:
        name = asked.get("modelDeploymentName") or asked["provisionedModelName"]
        model = self._find("custom_model", asked.get("modelArn") or asked["modelId"], region)
        taken = kind == "throughput" or model["base"].startswith(tuple(TABLE["on_demand"]))
        must(taken, f"On-demand deployment does not take models of {model['base']}: use provisioned throughput.")
        arn = self._again(kind, asked, region)
        if arn is None:
            must(self._seek(kind, name, region) is None, f"The name {name} is in use.")
            arn, _ = _new_arn(region, USES[kind])
            use = {"arn": arn, "name": name, "model": model["arn"], "region": region, "created_at": time.time()}
            self.store.add(kind, arn, use | {"asked": asked})
        return dict.fromkeys(TABLE["arns"], arn)

    def _use_facts(self, use: dict) -> dict:
        """Of a deployment or a throughput: each shape takes what it knows."""
        base = self._find("custom_model", use["model"], use["region"])["base"]
        days = TABLE["commitments"].get(use["asked"].get("commitmentDuration"))
        return use["asked"] | {
            "status": _state(use),
            "foundationModelArn": base_arn(base, use["region"]),
            "desiredModelUnits": use["asked"].get("modelUnits"),
            "commitmentExpirationTime": iso(use["created_at"] + days * 86_400) if days else None,
            **dict.fromkeys(TABLE["arns"], use["arn"]),
            **dict.fromkeys(("modelDeploymentName", "customModelDeploymentName"), use["name"]),
            **dict.fromkeys(("modelArn", "desiredModelArn"), use["model"]),
            **dict.fromkeys(("createdAt", "creationTime", "lastUpdatedAt", "lastModifiedTime"), iso(use["created_at"])),
        }

    def find_voice(self, key: str, region: str) -> tuple[tuple[str, ...], str]:
        """(adapters, base id) behind a model id of the runtime."""
        for kind in USES:
            if use := self._seek(kind, key, region):
                ready = _state(use) != "Creating"
                must(ready, "The model is being prepared: try again in a moment.", "ModelNotReadyException")
                model = self._find("custom_model", use["model"], region)
                return tuple(model["layers"]), model["base"]
        text = "A custom model answers through a deployment or a provisioned throughput, not by its own ARN."
        must(self._seek("custom_model", key, region) is None, text)
        name = re.sub(r"^(us|eu|apac)\.", "", key.rsplit("foundation-model/", 1)[-1])
        known = {model.id.rpartition(":")[0]: model.id for model in MODELS}
        must(name in known, "The provided model identifier is invalid.")
        return (), known[name]

    def do_ListFoundationModels(self, asked: dict, region: str) -> dict:
        views = list(foundation_models(region))
        if "byProvider" in asked:
            views = [view for view in views if view["providerName"].lower() == asked["byProvider"].lower()]
        for by in asked.keys() & TABLE["filters"].keys():
            views = [view for view in views if asked[by] in view[TABLE["filters"][by]]]
        return {"modelSummaries": views}

    def do_GetFoundationModel(self, asked: dict, region: str) -> dict:
        for view in foundation_models(region):
            if asked["modelIdentifier"] in (view["modelId"], view["modelArn"]):
                return {"modelDetails": view}
        raise AwsError("The provided model identifier is invalid.", NOT_FOUND)


def _new_arn(region: str, path: str) -> tuple[str, str]:
    """A new ARN and its last part."""
    short = new_id("", 12, LOWER)
    return f"arn:aws:bedrock:{region}:{ACCOUNT}:{path}/{short}", short


def _data(asked: dict) -> tuple[str, str | None]:
    """Where the training and the validation file are; what this twin does not take is refused."""
    kind = asked.get("customizationType", "FINE_TUNING")
    must(kind == "FINE_TUNING", f"This local twin trains FINE_TUNING only, not {kind}.")
    for field in ("customModelKmsKeyId", "vpcConfig", "customizationConfig"):
        must(field not in asked, f"This local twin does not take {field}.")
    train = asked["trainingDataConfig"].get("s3Uri")
    must(train is not None, "trainingDataConfig.s3Uri is required.")
    checks = asked.get("validationDataConfig", {}).get("validators", [])
    must(len(checks) <= 1, "Only one validation dataset is taken for this model.")
    return train, checks[0]["s3Uri"] if checks else None


def _name(document: dict) -> str:
    return document["name"] if "name" in document else document["asked"]["jobName"]


def _shown(job: dict) -> str:
    """The job's status as the service has it."""
    return TABLE["endings"].get(job["status"], "InProgress")


def _phases(job: dict, times: dict) -> dict:
    """The three phases as the service shows them, from where the job is, or was when it ended."""
    at = PLACES.get(job.get("stopped_in") or job.get("failed_in") or job["status"], len(TABLE["phases"]))
    phases = {}
    for place, name in enumerate(TABLE["phases"]):
        status = "Completed" if place < at else _shown(job) if place == at else "NotStarted"
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
