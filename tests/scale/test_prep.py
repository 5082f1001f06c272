"""The cluster road: what a Ray cluster writes is what one machine writes, byte for byte, also when a node dies; and `afina train`
by Ray Train, with the losses of one process, also when a worker is killed."""

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

# Ray's own switch for "stay on 127.0.0.1"; without it, it looks for the address by which other machines see this one.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

daft = pytest.importorskip("daft", reason="precisa do extra [cluster]: pip install 'afina[cluster]'")
ray = pytest.importorskip("ray", reason="precisa do extra [cluster]: pip install 'afina[cluster]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")

from ray._private.internal_api import node_stats  # noqa: E402

from afina.data.prep import prep  # noqa: E402
from afina.data.synthetic import catalogue_lines  # noqa: E402
from afina.errors import CourseError  # noqa: E402
from afina.runtime import course_root  # noqa: E402
from afina.scale import prep as cluster  # noqa: E402

pytestmark = pytest.mark.cluster
NODE = {"num_cpus": 1, "object_store_memory": 150 << 20}


@pytest.fixture(scope="module")
def two_workers():
    """A head without work and two worker nodes, on this machine; a dead node is noticed in seconds, not in half a minute."""
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = NODE | {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
    nodes = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        nodes.add_node(**NODE)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("catalogue") / "trn.json.gz"
    lines = list(catalogue_lines(12_000, seed=3))
    path.write_bytes(gzip.compress(b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines), 1))
    return path


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
    monkeypatch.setenv("AFINA_PROGRESS", "0")
    monkeypatch.setattr(cluster, "RANGE_BYTES", 1 << 20)  # many tasks for little data


def assert_same(here, there):
    names = ("read", "kept", "dropped", "rows", "checksum", "broken", "damaged", "shards")
    assert {name: getattr(here, name) for name in names} == {name: getattr(there, name) for name in names}
    assert sorted(path.name for path in Path(here.out).iterdir()) == sorted(
        path.name for path in Path(there.out).iterdir()
    )


def test_two_workers_write_what_one_machine_writes(tmp_path, two_workers, source):
    here = prep(source, tmp_path / "here", formats=("jsonl",), shard_rows=2_000)
    there = prep(source, tmp_path / "there", formats=("jsonl",), shard_rows=2_000, ray=two_workers.address)
    assert here.dropped["duplicate"] > 100
    assert here.broken
    assert_same(here, there)


def test_near_duplicates_are_the_same_on_both_roads(tmp_path, two_workers):
    source = tmp_path / "trn.json"
    rows = [line for line in catalogue_lines(1_500, seed=4) if line.endswith(b"}\n")]
    source.write_bytes(b"".join(rows + [row.replace(b'"content": "', b'"content": "New. ', 1) for row in rows]))
    options = {"formats": ("jsonl",), "near_duplicates": 0.8}
    here = prep(source, tmp_path / "here", **options)
    there = prep(source, tmp_path / "there", **options, ray=two_workers.address)
    assert here.dropped["near_duplicate"] > 500
    assert_same(here, there)


def test_plain_files_with_bom_and_a_cut_gzip(tmp_path, two_workers, source, monkeypatch):
    plain, cut = tmp_path / "plain.json", tmp_path / "cut.json.gz"
    text = gzip.decompress(source.read_bytes())
    plain.write_bytes(b"\xef\xbb\xbf" + text[: 3 << 20])
    cut.write_bytes(source.read_bytes()[:-100_000])
    monkeypatch.chdir(tmp_path)
    inputs = [plain.name, cut.name]
    here = prep(inputs, tmp_path / "here", formats=("jsonl",))
    there = prep(inputs, tmp_path / "there", formats=("jsonl",), ray=two_workers.address)
    assert plain.exists() and cut.exists()
    assert "cortado antes do fim" in there.damaged[0]
    assert_same(here, there)


def test_a_cluster_that_always_fails_gives_up_with_one_sentence(tmp_path, two_workers, source, monkeypatch):
    asked = []

    def lost(*_):
        asked.append(1)
        raise ray.exceptions.NodeDiedError("um nó caiu")

    monkeypatch.setattr(cluster, "_ask", lost)
    with pytest.raises(CourseError, match="falhou 3 vezes"):
        prep(source, tmp_path / "out", ray=two_workers.address)
    assert len(asked) == 3
    assert list(tmp_path.iterdir()) == []


def test_the_training_job_outlives_a_killed_worker(tmp_path, two_workers):
    """train/job_ray.py as it is run: kill -9 of a worker after the first checkpoint, and the losses are those of one process."""
    from afina.scale.job import GPTJob
    from afina.scale.train import run

    sizes = {"d_model": 32, "n_layers": 2, "steps": 120, "save_every": 10, "validation_rows": 32, "warmup": 5}
    config = tmp_path / "gpt.yaml"
    config.write_text(json.dumps({"out": str(tmp_path / "m"), **sizes}), encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "train/job_ray.py", "gpt", str(config), "--address", two_workers.address]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
    job = subprocess.Popen(command, cwd=course_root(), **pipes)
    try:
        end = time.monotonic() + 120
        while not any((tmp_path / "m.partial" / "checkpoints").glob("checkpoint-*/diary.json")):
            assert job.poll() is None and time.monotonic() < end, job.communicate(timeout=10)[0][-3000:]
            time.sleep(0.02)
        mine = psutil.Process().children(recursive=True)
        workers = [process for process in mine if "RayTrainWorker" in process.name() + " ".join(process.cmdline())]
        assert len(workers) == 2
        workers[-1].kill()
        said = job.communicate(timeout=400)[0]
    finally:
        job.kill()
    assert job.returncode == 0, said[-3000:]
    run("gpt", GPTJob(out=str(tmp_path / "one"), **sizes))
    cluster_run, one = (
        json.loads((tmp_path / name / "training.json").read_text(encoding="utf-8")) for name in ("m", "one")
    )
    assert cluster_run["processes"] == 2 and cluster_run["resumed_after"] >= 10
    assert cluster_run["losses"] == pytest.approx(one["losses"], abs=2e-2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpt.yaml", "m", "one"]


def test_a_query_that_fails_in_the_middle_is_asked_again_and_says_so(tmp_path, two_workers, source, monkeypatch):
    import ray

    here = prep(source, tmp_path / "here", formats=("jsonl",))
    ask, asked = cluster._ask, []

    def fails_once(*arguments):
        entries, tables = ask(*arguments)
        asked.append(len(asked))

        def cut():
            for table in tables:
                yield table
                if len(asked) == 1:
                    raise ray.exceptions.RayError("a worker is gone")

        return entries, cut()

    monkeypatch.setattr(cluster, "_ask", fails_once)
    there = prep(source, tmp_path / "there", formats=("jsonl",), ray=two_workers.address)
    assert len(asked) == 2 and any("perdeu um trabalhador" in note for note in there.notes)
    assert_same(here, there)


# the last test: it costs the cluster a node; whether Ray makes the lost results again by itself, or fails, is a matter of timing
def test_a_node_that_dies_in_the_middle_changes_nothing(tmp_path, two_workers, source, monkeypatch):
    here = prep(source, tmp_path / "here", formats=("jsonl",))
    started, killed = threading.Event(), threading.Event()

    def held(node):  # bytes of results; a node that was slow to start may hold none, and nobody would miss it
        return node_stats(node.node_ip_address, node.node_manager_port).store_stats.object_store_bytes_used

    def kill_when_results_are_there():
        started.wait(60)
        victim = max(two_workers.list_all_nodes()[1:], key=held)
        assert held(victim) > 0
        two_workers.remove_node(victim, allow_graceful=False)
        killed.set()

    first_account = cluster._account

    def account_then_wait(*arguments):  # the cleaned lines lie on both nodes, nothing is written yet
        started.set()
        assert killed.wait(60)
        return first_account(*arguments)

    monkeypatch.setattr(cluster, "_account", account_then_wait)
    killer = threading.Thread(target=kill_when_results_are_there)
    killer.start()
    there = prep(source, tmp_path / "there", formats=("jsonl",), ray=two_workers.address)
    killer.join()
    assert killed.is_set()
    assert_same(here, there)
