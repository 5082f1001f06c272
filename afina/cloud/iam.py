"""Whether Bedrock may do what a job asks of it, by the roles and policies that moto keeps."""

import fnmatch
import json

from afina.compat import moto_roles

ACCOUNT = "123456789012"  # moto's account


def split_uri(uri: str) -> tuple[str, str]:
    """(bucket, key) of s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def find_role(arn: str):
    """moto's role with this ARN, or None."""
    return next((role for role in moto_roles(ACCOUNT) if role.arn == arn), None)


def trusts_bedrock(role, job_arn: str) -> bool:
    """Whether the role's trust policy lets Bedrock take it for this job."""
    for statement in _statements(role.assume_role_policy_document):
        service = statement.get("Principal", {})
        service = service.get("Service", []) if isinstance(service, dict) else service
        right = statement.get("Effect") == "Allow" and "bedrock.amazonaws.com" in _listed(service)
        if right and "sts:AssumeRole" in _listed(statement.get("Action")) and _met(statement, job_arn):
            return True
    return False


def allows(role, action: str, resource: str) -> bool:
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
