"""The AWS side's front door: who may come in, S3, IAM and STS by moto, and Bedrock by `bedrock`.

moto keeps its buckets and roles in memory. Every request that changes them is kept in the twin's folder, and played
again when the twin starts on the same folder: what moto has then is what it had.
"""

import io
import re
import secrets
from urllib.parse import quote

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.test import create_environ
from werkzeug.wrappers import Request, Response

from afina.cloud.bedrock import Bedrock
from afina.cloud.iam import split_uri
from afina.cloud.intake import UPLOAD_LIMIT
from afina.cloud.store import new_id

SERVICES = ("s3", "iam", "sts")
READS = re.compile(rb"(?:^|&)Action=(?:Get|List|Simulate|Generate)")
CREDENTIAL = re.compile(
    r"(?:Credential=|X-Amz-Credential=)([^/%&,]+)(?:/|%2F)\d+(?:/|%2F)([^/%]+)(?:/|%2F)([^/%]+)(?:/|%2F)"
)


class Aws:
    """The WSGI application of everything that is not under /v1. `twin` is the server's `Twin`."""

    def __init__(self, twin):
        self.store, self.key = twin.store, twin.aws_key
        self.folder = twin.store.folder / "aws"
        self.folder.mkdir(exist_ok=True)
        self.moto = DomainDispatcherApplication(create_backend_app)
        for kept in self.store.all("aws_request"):
            self._run(kept["environ"], (self.folder / kept["id"]).read_bytes())
        self.bedrock = Bedrock(self.store, self.s3, twin.speaker.say, twin.wake)
        self.deliver = self.bedrock.deliver

    def __call__(self, environ, start_response):
        asked = environ.get("HTTP_AUTHORIZATION", "") + "&" + environ.get("QUERY_STRING", "")
        found = CREDENTIAL.search(asked)
        known = found is not None and secrets.compare_digest(found[1].encode(), self.key.encode())
        region, service = (found[2], found[3]) if found else ("", "")
        if known and service == "bedrock":
            return self.bedrock.api(environ, start_response, region)
        return self._answer(environ, service, known)(environ, start_response)

    def _answer(self, environ: dict, service: str, known: bool) -> Response:
        """What is not Bedrock's: moto's answer, or an error."""
        if not known:
            return _error(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
        if service not in SERVICES or environ["PATH_INFO"].startswith(("/moto-api", "/latest/", "/v20180820")):
            return _error(400, "UnknownOperationException", f"This local twin has no {service[:40]} like that.")
        request = Request(environ)
        request.max_content_length = UPLOAD_LIMIT
        try:
            return self._ask(environ, request.get_data(), service)
        except RequestEntityTooLarge:
            return _error(413, "EntityTooLarge", "The request is larger than this local twin takes.")

    def _ask(self, environ: dict, body: bytes, service: str) -> Response:
        """moto's answer; what changed its memory is kept for the next start, without the key of this one."""
        kept = {key: value for key, value in environ.items() if isinstance(value, str)}
        kept.pop("HTTP_TRANSFER_ENCODING", None)
        answer, verb, query = self._run(kept, body), kept["REQUEST_METHOD"], kept.get("QUERY_STRING", "")
        reads = verb in ("GET", "HEAD") or (service != "s3" and READS.search(body))
        if service == "sts" or reads or answer.status_code >= 300:
            return answer
        if re.search("(?:^|&)upload(?:s|Id)(?:=|&|$)", query):
            # an upload in parts has an id that a replay would not meet: keep the whole object when it is complete
            if verb == "POST" and "uploadId" in query:
                path = kept["PATH_INFO"].encode("latin-1").decode("utf-8")  # WSGI's way with text
                bucket, _, key = path.lstrip("/").partition("/")
                self.s3("PUT", bucket, key, self.s3("GET", bucket, key)[1])
            return answer
        for name in ("HTTP_AUTHORIZATION", "QUERY_STRING"):
            kept[name] = kept.get(name, "").replace(self.key, "REPLAYED")
        id = new_id("", 16)
        (self.folder / id).write_bytes(body)
        self.store.add("aws_request", id, {"id": id, "environ": kept})
        return answer

    def _run(self, given: dict[str, str], body: bytes) -> Response:
        """moto's answer."""
        environ = create_environ() | given | {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        environ |= {"wsgi.input_terminated": True, "wsgi.errors": io.StringIO()}
        answer = Response.from_app(self.moto, environ)
        answer.headers.remove("Connection")
        answer.get_data()
        return answer

    def s3(self, method: str, bucket: str, key: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """(status, body) of one S3 request of the twin's own."""
        scope = f"AWS4-HMAC-SHA256 Credential={self.key}/20260101/us-east-1/s3/aws4_request"
        path = quote(f"/{bucket}/{key}" if key else f"/{bucket}")
        environ = create_environ(path, "http://127.0.0.1", method=method, headers={"Authorization": scope})
        answer = self._ask(environ, body, "s3")
        return answer.status_code, answer.get_data()

    def content_of(self, uri: str) -> bytes | None:
        status, body = self.s3("GET", *split_uri(uri))
        return body if status == 200 else None


def _error(status: int, code: str, message: str) -> Response:
    """An error in the two shapes that AWS clients read: XML for S3, IAM and STS; a header with JSON for Bedrock."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f"<ErrorResponse>{error}<RequestId>local</RequestId></ErrorResponse>"
    return Response(body, f"{status} {code}", {"x-amzn-errortype": code}, "text/xml")
