"""The verbs at Bedrock's twin with the official clients, and at an account that must not be paid by accident."""

from jobs_base import NOVA, held_out, raises, real_aws

from afina.jobs import bedrock, ledger


def test_a_bedrock_job_from_bucket_to_nothing_left(twin, aws_file, capsys):
    aws, valid = bedrock.connect(), held_out(aws_file)
    bucket = bedrock.make_bucket(aws, "afina-test")
    role = bedrock.make_role(aws, "afina-test", bucket)
    common = {"model": NOVA, "bucket": bucket, "epochCount": 1, "learningRate": 1e-5}
    raises("ValidationException", bedrock.submit, aws, aws_file, name="no-role", role=f"{role}x", **common)
    assert [entry.kind for entry in ledger.entries()] == ["s3-bucket", "iam-role"]
    sent = []
    event = "provide-client-params.bedrock.CreateModelCustomizationJob"
    aws.bedrock.meta.events.register(event, lambda params, **more: sent.append(params))
    job = bedrock.submit(aws, aws_file, valid, name="test-1", role=role, **common)
    assert sent[0]["hyperParameters"] == {"epochCount": "1", "learningRate": "0.00001"}
    assert sent[0]["clientRequestToken"] == f"afina-{ledger.entries()[0].key}"  # asked twice, created once
    done = bedrock.watch(aws, job, deadline=120)
    assert done["status"] == "Completed" and capsys.readouterr().out == ""
    table = bedrock.metrics(aws, job)
    assert table["training_loss"].notna().all() and table["validation_loss"].notna().sum() == 1
    # the documentation's path has no inner folder: the table must not depend on it
    keys = [item["Key"] for item in aws.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    inner = next(key for key in keys if key.endswith("validation_metrics.csv"))
    body = aws.s3.get_object(Bucket=bucket, Key=inner)["Body"].read()
    aws.s3.delete_object(Bucket=bucket, Key=inner)
    aws.s3.put_object(Bucket=bucket, Key=inner.replace("/validation/", "/"), Body=body)
    assert bedrock.metrics(aws, job).equals(table)
    door = bedrock.deploy(aws, done["outputModelArn"], "test-door", deadline=30)
    talk = [{"role": "user", "content": [{"text": "mouse 3"}]}]
    reply = aws.runtime.converse(modelId=door, messages=talk, inferenceConfig={"maxTokens": 3})
    assert reply["usage"]["outputTokens"] <= 3
    dear = bedrock.deploy(aws, done["outputModelArn"], "test-dear", provisioned=True, deadline=30)
    costs = {entry.kind: entry.cost for entry in ledger.entries()}
    assert costs["bedrock-throughput"] == "nada (no serviço: US$ 60,50/h)" and costs["bedrock-deployment"] == "nada"
    assert ledger.entries()[0].id == dear  # what costs most goes first
    hasty = bedrock.submit(aws, aws_file, name="test-2", role=role, **common)
    assert raises("o prazo de 0 s", bedrock.watch, aws, hasty, deadline=0).status == "deadline"
    assert raises("foi parado", bedrock.watch, aws, hasty, deadline=60).status == "cancelled"
    assert bedrock.clean_up(aws) == [] and ledger.entries() == []
    assert aws.bedrock.list_custom_models()["modelSummaries"] == []
    assert aws.bedrock.list_custom_model_deployments()["modelDeploymentSummaries"] == []
    assert aws.bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"] == []
    assert aws.s3.list_buckets()["Buckets"] == [] and aws.iam.list_roles()["Roles"] == []


def test_a_failed_bedrock_job_names_phase_and_reason():
    details = {"validationDetails": {"status": "Completed"}, "trainingDetails": {"status": "Failed"}}
    job = {"jobName": "j", "status": "Failed", "statusDetails": details, "failureMessage": "internal error"}
    end = bedrock._end(job)
    assert end.status == "failed" and "na fase de treino: internal error" in end.problem
    assert "não disse por quê" in bedrock._end({"jobName": "j", "status": "Failed"}).problem
    assert bedrock._end({"jobName": "j", "status": "Stopping"}) is None


def test_the_policies_name_one_account_one_region_one_bucket():
    statement = bedrock.trust_policy("123456789012", "us-west-2")["Statement"][0]
    assert statement["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    assert ":us-west-2:123456789012:" in statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    resources = [
        r
        for s in bedrock.data_policy("b")["Statement"]
        for r in [s["Resource"]]
        for r in ([r] * isinstance(r, str) or r)
    ]
    assert all(resource.startswith("arn:aws:s3:::b") for resource in resources) and "*" not in resources


def test_a_real_aws_account_needs_the_word_and_the_amount(aws_file, monkeypatch):
    aws = real_aws()
    raises("AFINA_CLOUD=aws", bedrock.make_bucket, aws, "b")
    raises("AFINA_CLOUD=aws", bedrock.make_role, aws, "r", "b")
    raises("AFINA_CLOUD=aws", bedrock.deploy, aws, "m", "d")
    monkeypatch.setenv("AFINA_CLOUD", "aws")
    monkeypatch.setenv("AFINA_CONFIRM", "sim")
    raises("não confere", bedrock.submit, aws, aws_file, model=NOVA, name="n", bucket="b", role="r", epochCount="2")
    model = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abc"
    error = raises("não confere", bedrock.deploy, aws, model, "d", provisioned=True)
    assert 'Esperava "US$ 60,50"' in str(error) and ledger.entries() == []
