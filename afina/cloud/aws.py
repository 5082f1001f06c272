"""The AWS side's front door: who may come in, S3, IAM and STS by moto, and Bedrock by `bedrock_api`.

moto keeps its buckets and roles in memory. Every request that changes them is kept in the twin's folder, and played
again when the twin starts on the same folder: what moto has then is what it had.
"""

from __future__ import annotations

import fnmatch
import io
import json
import re
import secrets
from urllib.parse import quote

from moto.iam.models import iam_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.test import EnvironBuilder, run_wsgi_app

from afina.cloud.store import new_id

ACCOUNT = "123456789012"  # moto's account
SERVICES = ("s3", "iam", "sts")
LIMIT = 100 << 20  # bytes of a request
READS = re.compile(rb"(?:^|&)Action=(?:Get|List|Simulate|Generate)")
CREDENTIAL = re.compile(
    r"(?:Credential=|X-Amz-Credential=)([^/%&,]+)(?:/|%2F)\d+(?:/|%2F)([^/%]+)(?:/|%2F)([^/%]+)(?:/|%2F)"
)


class Aws:
    """The WSGI application of everything that is not under /v1. `twin` is the server's `Twin`."""

    def __init__(self, twin):
        from afina.cloud.bedrock_api import Bedrock

        self.twin, self.store = twin, twin.store
        self.moto = DomainDispatcherApplication(create_backend_app)
        (self.store.folder / "aws").mkdir(exist_ok=True)
        for kept in self.store.all("aws_request"):
            environ = dict(kept["environ"])
            environ["wsgi.input"] = io.BytesIO((self.store.folder / "aws" / kept["id"]).read_bytes())
            _run(self.moto, environ)
        self.bedrock = Bedrock(self)

    def __call__(self, environ, start_response):
        asked = environ.get("HTTP_AUTHORIZATION", "") + "&" + environ.get("QUERY_STRING", "")
        found = CREDENTIAL.search(asked)
        if found is None or not secrets.compare_digest(found[1].encode(), self.twin.aws_key.encode()):
            return _refuse(
                start_response, 403, "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        region, service = found[2], found[3]
        if service == "bedrock":
            return self.bedrock(environ, start_response, region)
        path = environ["PATH_INFO"]
        if service not in SERVICES or path.startswith(("/moto-api", "/latest/", "/v20180820")):
            return _refuse(
                start_response, 400, "UnknownOperationException", f"This local twin has no {service[:40]} like that."
            )
        body = _read(environ)
        if body is None:
            return _refuse(start_response, 413, "EntityTooLarge", "The request is larger than this local twin takes.")
        status, headers, answer = self._moto(environ, body, service)
        start_response(status, headers)
        return [answer]

    def _moto(self, environ: dict, body: bytes, service: str) -> tuple[str, list, bytes]:
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        # before moto adds its own objects; the key of this start means nothing to the next one
        kept = {key: value for key, value in environ.items() if isinstance(value, str)}
        for key in ("HTTP_AUTHORIZATION", "QUERY_STRING"):
            kept[key] = kept.get(key, "").replace(self.twin.aws_key, "REPLAYED")
        answer = _run(self.moto, environ)
        if re.search("(?:^|&)upload(?:s|Id)(?:=|&|$)", environ.get("QUERY_STRING", "")):
            # an upload in parts has an id that a replay would not meet: keep the whole object when it is complete
            if environ["REQUEST_METHOD"] == "POST" and "uploadId" in environ["QUERY_STRING"] and answer[0] < "300":
                path = environ["PATH_INFO"].encode("latin-1").decode("utf-8")  # WSGI's way with text
                bucket, _, key = path.lstrip("/").partition("/")
                self.s3("PUT", bucket, key, self.s3("GET", bucket, key)[1])
            return answer
        changes = environ["REQUEST_METHOD"] not in ("GET", "HEAD") and not (service != "s3" and READS.search(body))
        if service != "sts" and changes and answer[0] < "300":
            id = new_id("", 16)
            (self.store.folder / "aws" / id).write_bytes(body)
            self.store.add("aws_request", id, {"id": id, "environ": kept})
        return answer

    # --- what Bedrock needs of the others ----------------------------------------------------------------------------

    def s3(self, method: str, bucket: str, key: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """(status, body) of one S3 request of the twin's own."""
        scope = f"AWS4-HMAC-SHA256 Credential={self.twin.aws_key}/20260101/us-east-1/s3/aws4_request"
        environ = EnvironBuilder(
            quote(f"/{bucket}/{key}" if key else f"/{bucket}"), "http://127.0.0.1", method=method, data=body,
            headers={"Authorization": scope},
        ).get_environ()  # fmt: skip
        status, _, answer = self._moto(environ, body, "s3")
        return int(status.split()[0]), answer

    def content_of(self, uri: str) -> bytes | None:
        status, body = self.s3("GET", *split_uri(uri))
        return body if status == 200 else None

    def deliver(self, job: dict) -> None:
        self.bedrock.deliver(job)

    def role(self, arn: str):
        """moto's role with this ARN, or None."""
        return next((role for role in iam_backends[ACCOUNT]["aws"].roles.values() if role.arn == arn), None)

    def trusts_bedrock(self, role, job_arn: str) -> bool:
        """Whether the role's trust policy lets Bedrock take it for this job."""
        for statement in _statements(role.assume_role_policy_document):
            service = statement.get("Principal", {})
            service = service.get("Service", []) if isinstance(service, dict) else service
            right = statement.get("Effect") == "Allow" and "bedrock.amazonaws.com" in _listed(service)
            if right and "sts:AssumeRole" in _listed(statement.get("Action")) and _met(statement, job_arn):
                return True
        return False

    def allows(self, role, action: str, resource: str) -> bool:
        """Whether the role's own policies allow `action` on `resource`. Conditions other than on the caller are not read."""
        documents = [*role.policies.values(), *(policy.document for policy in role.managed_policies.values())]
        effects = {
            statement.get("Effect")
            for document in documents
            for statement in _statements(document)
            if any(fnmatch.fnmatchcase(action.lower(), want.lower()) for want in _listed(statement.get("Action")))
            and any(fnmatch.fnmatchcase(resource, want) for want in _listed(statement.get("Resource")))
        }
        return effects == {"Allow"}


def split_uri(uri: str) -> tuple[str, str]:
    """(bucket, key) of s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _statements(document) -> list[dict]:
    try:
        found = json.loads(document) if isinstance(document, str) else document
    except ValueError:
        return []
    return [each for each in _listed(found.get("Statement")) if isinstance(each, dict)]


def _listed(value) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]


def _met(statement: dict, job_arn: str) -> bool:
    for kind, tests in statement.get("Condition", {}).items():
        for key, wanted in tests.items():
            value = {"aws:sourceaccount": ACCOUNT, "aws:sourcearn": job_arn}.get(key.lower())
            exact = kind in ("StringEquals", "ArnEquals") and key.lower() == "aws:sourceaccount"
            matches = [value == want if exact else fnmatch.fnmatchcase(value or "", want) for want in _listed(wanted)]
            if not any(matches):
                return False
    return True


def _read(environ: dict) -> bytes | None:
    """The body, or None when it is over the limit."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        body = stream.read(LIMIT + 1)
        return body if len(body) <= LIMIT else None
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > LIMIT:
        return None
    return stream.read(int(length))


def _run(app, environ: dict) -> tuple[str, list, bytes]:
    environ.setdefault("wsgi.url_scheme", "http")
    environ |= {
        "wsgi.version": (1, 0), "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": False,
        "wsgi.run_once": False, "wsgi.input_terminated": True,
    }  # fmt: skip
    chunks, status, headers = run_wsgi_app(app, environ)
    return status, [(k, v) for k, v in headers if k.lower() != "connection"], b"".join(chunks)


def _refuse(start_response, status: int, code: str, message: str):
    """An error in the two shapes that AWS clients read: XML for S3, IAM and STS; a header with JSON for Bedrock."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f"<ErrorResponse>{error}<RequestId>local</RequestId></ErrorResponse>".encode()
    start_response(f"{status} {code}", [("Content-Type", "text/xml"), ("x-amzn-errortype", code)])
    return [body]
