"""The `afina` command: one dictionary of verbs, each a plain function whose signature is its command line.

    afina VERB [options]      exit codes: 0 done, 1 the verb found problems, 2 it could not do its work, 130 interrupted

A verb imports its room only when it runs. Whatever goes wrong is told in one sentence; AFINA_DEBUG=1 shows the traceback.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from afina import __version__
from afina.command import Verb, argument, need, option, run_verb, told, verb_list, workshop
from afina.errors import CourseError, require
from afina.runtime import SEED, arm_network_guard, is_loopback

# fmt: off  one parameter a line


def prep(
    inputs: Annotated[list[str], argument("arquivo JSON Lines, puro ou gzip; aceita padrões (*)", "ENTRADA")],
    out: Annotated[str, option("pasta de saída; só aparece quando tudo terminou", metavar="PASTA")],
    shard_rows: Annotated[int, option("linhas por fragmento", metavar="N")] = 100_000,
    formats: Annotated[str, option("jsonl, parquet ou jsonl,parquet", metavar="LISTA")] = "jsonl,parquet",
    strict: Annotated[bool, option("para na primeira linha quebrada")] = False,
    workers: Annotated[int | None, option("processos (2; 1 para arquivos pequenos)", metavar="N")] = None,
    ray: Annotated[str | None, option('um cluster Ray ("auto" encontra um)', metavar="ENDEREÇO")] = None,
    near_duplicates: Annotated[float | None, option("tira as quase iguais: Jaccard de 0.5 a 1", metavar="J")] = None,
    force: Annotated[bool, option("refaz mesmo que a saída já esteja pronta")] = False,
    as_json: Annotated[bool, option("relatório em JSON, para máquinas", "--json")] = False,
) -> int:
    """limpa, deduplica, divide e fragmenta um catálogo JSON Lines

    Exemplo: afina prep catalogo.json.gz --out build/catalogo
    """
    if ray:
        need("prep", "daft", "ray")
    from afina.data.prep import prep as run_prep

    report = run_prep(
        inputs, out, shard_rows=shard_rows, formats=tuple(formats.split(",")), strict=strict, workers=workers, ray=ray,
        near_duplicates=near_duplicates, force=force,
    )  # fmt: skip
    if as_json:
        broken = [example._asdict() for example in report.broken]
        print(json.dumps(asdict(report) | {"broken": broken, "complete": report.complete}, ensure_ascii=False))
    else:
        print(report)
    return 0 if report.complete else 1


def download(
    folder: Annotated[str | None, option("onde gravar (data/real)", metavar="PASTA")] = None,
    url: Annotated[str | None, option("um espelho seu, em vez da lista do curso", metavar="URL")] = None,
    sha256: Annotated[str, option("a soma esperada do arquivo de --url", metavar="HEX")] = "",
) -> None:
    """baixa o arquivo real AmazonTitles-1.3MM, com retomada e checksum

    Exemplo: afina download --folder data/real
    """
    from afina.data.download import MIRRORS, READY, Mirror, fetch

    mirrors = MIRRORS
    require(url or not sha256, "--sha256 vale para o arquivo de --url.", "Diga os dois.", "afina download")
    if url:
        name = url.split("?")[0].rsplit("/", 1)[-1]
        known = name.endswith((*READY, ".zip"))
        require(known, "--url precisa terminar em trn.json, trn.json.gz ou .zip.", "Confira-o.", url)
        mirrors = (Mirror(url, name, sha256=sha256),)
    print(f"Próximo passo: afina prep {fetch(mirrors, folder)}")


def synthetic(
    out: Annotated[str, argument("arquivo a gravar; comprimido se terminar em .gz", "SAÍDA")],
    lines: Annotated[int | None, option("linhas (sem isto, tantas quantas tem o real)", metavar="N")] = None,
    seed: Annotated[int, option("semente", metavar="S")] = SEED,
) -> None:
    """gera o catálogo sintético, de qualquer tamanho

    Exemplo: afina synthetic build/trn.json.gz --lines 100000
    """
    from afina.data.synthetic import REAL_LINES, write_catalogue

    count = REAL_LINES if lines is None else lines
    path = write_catalogue(out, count, seed)
    print(f"{count} linhas em {path} ({path.stat().st_size / 1e6:.1f} MB), semente {seed}.")


FORMATS = "auto, openai-chat, openai-dpo, bedrock-conversation ou bedrock-completion"
Format = Literal["auto", "openai-chat", "openai-dpo", "bedrock-conversation", "bedrock-completion"]


def validate(
    train: Annotated[str, argument("o JSONL de treino", "TREINO")],
    validation: Annotated[str | None, argument("o JSONL de validação", "VALIDAÇÃO")] = None,
    format: Annotated[Format, option(FORMATS, metavar="FORMATO")] = "auto",
    model: Annotated[str | None, option("modelo base: decide limites e preço", metavar="MODELO")] = None,
    as_json: Annotated[bool, option("saída para máquinas", "--json")] = False,
    most: Annotated[int, option("mostra no máximo N problemas", "--max", metavar="N")] = 50,
) -> int:
    """confere um JSONL de fine-tuning: todos os problemas, por linha

    Exemplo: afina validate treino.jsonl validacao.jsonl --model gpt-4.1-mini
    """
    from afina import jsonl

    report = jsonl.validate(train, validation, format=format, model=model, max_problems=most)
    print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2) if as_json else report.text(most))
    return 0 if report.ok else 1


def estimate(
    file: Annotated[str, argument("o JSONL de treino", "ARQUIVO")],
    model: Annotated[str | None, option("modelo base; sem ele, todos os que servem", metavar="MODELO")] = None,
    epochs: Annotated[int | None, option("passadas pelos dados (sem isto, o padrão do serviço)", metavar="N")] = None,
    format: Annotated[Format, option(FORMATS, metavar="FORMATO")] = "auto",
    as_json: Annotated[bool, option("saída para máquinas", "--json")] = False,
) -> None:
    """estima tokens e custo antes de qualquer job

    Exemplo: afina estimate treino.jsonl --model gpt-4.1-mini
    """
    from afina.jsonl.estimate import cost_table, estimates

    answers = estimates(file, model, epochs=epochs, format=format)
    if as_json:
        print(json.dumps([answer.to_dict() for answer in answers], ensure_ascii=False, indent=2))
    else:
        print(answers[0] if model else cost_table(file, answers))


def train(
    kind: Annotated[Literal["gpt", "bert", "sft"], argument("o que treinar: gpt, bert ou sft", "TIPO")],
    config: Annotated[str | None, option("YAML com o que muda da aula; há em train/", metavar="ARQUIVO")] = None,
    out: Annotated[str | None, option("onde gravar, no lugar do out da configuração", metavar="PASTA")] = None,
    force: Annotated[bool, option("refaz um treino que já terminou")] = False,
    check: Annotated[bool, option("só confere a configuração")] = False,
) -> None:
    """treina um GPT, um BERT ou um Llama, em um processo ou em vários; morto no meio, o mesmo comando continua

    Exemplo: afina train gpt --config train/gpt.yaml
    Em vários processos: accelerate launch --config_file train/accelerate/processes.yaml -m afina.cli train gpt
    Em um cluster: sbatch train/job.slurm gpt train/gpt.yaml, ou python train/job_ray.py gpt train/gpt.yaml
    """
    from afina.scale.job import read_job
    from afina.scale.train import run as run_job

    job = read_job(kind, config)
    if out:
        job = type(job)(**(asdict(job) | {"out": out}))
    if check:
        print(json.dumps(asdict(job), indent=1, ensure_ascii=False))
    else:
        run_job(kind, job, force)


def describe(
    folder: Annotated[Path, argument("pasta do modelo ou do adaptador", "PASTA")],
    title: Annotated[list[str], option("título a descrever; pode repetir", metavar="TÍTULO")],
    tokens: Annotated[int, option("até quantos tokens novos", metavar="N")] = 160,
) -> None:
    """abre um modelo ajustado na aula 14 e descreve títulos, em JSON

    Exemplo: afina describe build/14_fundido --title "Chaleira Aurora 1,7 L"
    """
    from afina.tune.export import describe_titles

    print(json.dumps(describe_titles(folder, title, tokens), ensure_ascii=False))


def jobs_list() -> None:
    """o que existe, onde, e quanto custa por hora parado

    Exemplo: afina jobs list
    """
    from afina.jobs import ledger
    from afina.jobs.cleaning import listing

    found = ledger.entries()
    print(listing(found) if found else EMPTY_LEDGER)


EMPTY_LEDGER = "O livro está vazio: nada criado por aqui existe em serviço nenhum."


def jobs_clean(local: Annotated[bool, option("só o que é dos gêmeos locais")] = False) -> int:
    """apaga tudo, na ordem certa; contas de verdade, só depois de perguntar

    Exemplo: afina jobs clean --local
    """
    from afina.jobs import ledger
    from afina.jobs.cleaning import clean_ledger

    if not (found := ledger.entries()):
        print(EMPTY_LEDGER)
        return 0
    found = [entry for entry in found if entry.local or not local]
    left = clean_ledger(found)
    print(f"Pronto: {len(found) - len(left)} de {len(found)} saíram do livro.")
    return 1 if left else 0


def cloud(
    folder: Annotated[Path | None, option("onde fica o estado (build/cloud)", metavar="PASTA")] = None,
    base: Annotated[Path | None, option("o modelo base (models/llama-base)", metavar="PASTA")] = None,
    port: Annotated[int, option("porta; 0 escolhe uma livre", metavar="N")] = 0,
    training_not_available: Annotated[bool, option("recusa jobs novos, como a OpenAI faz com contas novas")] = False,
) -> None:
    """sobe os gêmeos locais da OpenAI e do Bedrock, para jobs sem rede e sem conta

    Exemplo: afina cloud --folder build/cloud
    """
    need("cloud", "openai", "boto3", "moto", "flask", "torch", "transformers")
    from afina.cloud import run_until_interrupted

    run_until_interrupted(folder, base=base, training_not_available=training_not_available or None, port=port)


Opinions = Annotated[Path | None, option("arquivo das opiniões (build/serve/feedback.sqlite)", metavar="ARQUIVO")]


def serve(
    checkpoint: Annotated[str, argument("pasta do modelo, do adaptador ou do classificador", "PASTA")],
    base: Annotated[str | None, option("a base de um adaptador, onde a nota dele não serve", metavar="PASTA")] = None,
    load_in_4bit: Annotated[bool, option("pesos em 4 bits (NF4)")] = False,
    feedback: Opinions = None,
    host: Annotated[str, option("endereço; o padrão é só esta máquina", metavar="ENDEREÇO")] = "127.0.0.1",
    port: Annotated[int, option("porta; 0 escolhe uma livre", metavar="N")] = 8000,
    batch: Annotated[int, option("respostas escritas juntas", metavar="N")] = 16,
    queue: Annotated[int, option("pedidos que podem esperar", metavar="N")] = 64,
    timeout: Annotated[float, option("segundos por pedido", metavar="S")] = 60.0,
    threads: Annotated[int | None, option("núcleos para o modelo (1 para os pequenos)", metavar="N")] = None,
) -> None:
    """serve um checkpoint: API como a da OpenAI e página de conversa

    Exemplo: afina serve models/llama-base
    """
    asked = dict(locals())  # by the names that `serving` has for them
    need("serve", "starlette", "uvicorn", "torch", "transformers")
    from afina.serve import serving

    print("Carregando o modelo…", flush=True)
    with serving(**asked, show=False) as server:
        print(f"Página: {server.page}")
        print(f"API:    {server.base_url}   (chave: {server.api_key})")
        print(f"Opiniões em {os.path.relpath(server.feedback)}; Ctrl+C encerra.")
        if not is_loopback(host):
            print(
                "Atenção: outras máquinas alcançam este endereço, e a conversa vai sem cifra. Ponha um proxy com TLS na frente."
            )
        sys.stdout.flush()
        assert server.process is not None
        try:
            server.process.wait()
            raise CourseError(f"o servidor terminou sozinho ({server.ending()}).", "Suba-o de novo.", checkpoint)
        except KeyboardInterrupt:
            print("\nEncerrado.")


def _store(db: Path | None):
    from afina.serve.feedback import Feedback, default_path

    path = db or default_path()
    require(path.is_file(), "não há opiniões aqui.", "Elas nascem na página: rode `afina serve CHECKPOINT`.", path)
    return Feedback(path, make=False)


def feedback_list(db: Opinions = None) -> None:
    """conta e mostra as últimas

    Exemplo: afina feedback list
    """
    store = _store(db)
    rows = store.rows()
    print(f"{len(rows)} opiniões em {store.path}")
    for row in rows[-10:]:
        mark = {"up": "+", "down": "-"}.get(row["rating"], " ")
        fixed = f" => {row['correction']!r}" if row["correction"] else ""
        print(f"{mark} {row['messages'][-1]['content'][:60]!r} -> {row['answer'][:60]!r}{fixed[:70]}")


def feedback_export(
    out: Annotated[Path | None, option("pasta (build/feedback)", metavar="PASTA")] = None, db: Opinions = None
) -> int:
    """grava chat.jsonl e dpo.jsonl, conferidos pelo validador

    Exemplo: afina feedback export --out build/feedback
    """
    from afina.runtime import build_folder

    done = _store(db).export(out or build_folder() / "feedback")
    print(done)
    for report in done.reports:
        print("\n" + report.text(most=10))
    if not done.reports:
        print("Nada a exportar: dê um polegar para cima, ou corrija uma resposta.", file=sys.stderr)
    return 0 if done.ok else 1


def course(
    lessons: Annotated[list[str] | None, argument('números ou nomes, como "02"; sem nenhum, todas', "AULA")] = None,
) -> int:
    """executa as aulas e mostra o resultado

    Exemplo: afina course 00 02
    """
    return workshop("course").main(lessons or [])


def grade(
    submissions: Annotated[Path, argument("os notebooks entregues: ana.ipynb, ou ana/t01.ipynb", "PASTA")],
    out: Annotated[Path, option("onde escrever notas.csv e as páginas", metavar="PASTA")],
    task: Annotated[list[str] | None, option("corrige só esta tarefa; pode repetir", metavar="tNN")] = None,
    jobs: Annotated[int, option("quantos por vez", metavar="N")] = 2,
) -> int:
    """corrige uma pasta de tarefas entregues, cada uma isolada, com retorno por estudante

    Exemplo: afina grade entregas --out notas
    """
    chosen = [word for name in task or [] for word in ("--task", name)]
    return workshop("grade").main([str(submissions), "--out", str(out), *chosen, "--jobs", str(jobs)])


def doctor() -> None:
    """relatório do ambiente para colar em uma issue, sem segredos nem nomes

    Exemplo: afina doctor
    """
    from afina.doctor import text

    print(text())


def bert_steps(
    out: Annotated[Path, option("onde escrever as perdas (JSON)", metavar="ARQUIVO")],
    steps: Annotated[int, option("passos de 32 exemplos", metavar="N")] = 8,
) -> None:
    """alguns passos à mão de models/bert-pt, em um processo ou em vários, para comparar as perdas

    Exemplo: accelerate launch --num_processes 2 -m afina.cli bert-steps --out build/perdas.json
    """
    from afina.tune.bert import write_steps

    write_steps(out, steps)


# fmt: on

COMMANDS: dict[str, Verb | dict[str, Verb]] = {
    **{verb.__name__: verb for verb in (prep, download, synthetic, validate, estimate, train, describe)},
    "jobs": {"list": jobs_list, "clean": jobs_clean},
    **{verb.__name__: verb for verb in (cloud, serve)},
    "feedback": {"list": feedback_list, "export": feedback_export},
    **{verb.__name__: verb for verb in (course, grade, doctor)},
    "bert-steps": bert_steps,
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Exit codes: 0 done, 1 the verb found problems, 2 it could not do its work, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a closed one is None
            stream.reconfigure(errors="replace")  # a terminal without accents gets a question mark
    try:
        code = _dispatch(argv)
        print(end="", flush=True)
        return code
    except KeyboardInterrupt:
        print("\ninterrompido: nada ficou pela metade; rode de novo quando quiser.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `afina … | head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the interpreter's last flush complain
        return 0
    except (Exception, MemoryError) as error:
        if os.environ.get("AFINA_DEBUG") == "1":
            traceback.print_exc()
        print(f"erro: {told(error)}", file=sys.stderr)
        return 2


def _dispatch(argv: list[str]) -> int:
    verbs: Mapping[str, Verb | dict[str, Verb]] = COMMANDS
    prog = "afina"
    if argv[:1] == ["--version"]:
        print(f"afina {__version__}")
        return 0
    while True:
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(verb_list(verbs, prog))
            return 0 if argv or prog == "afina" else 2
        name, *argv = argv
        if name not in verbs:
            raise CourseError(f'não conheço o comando "{name}".', f"Use um destes: {', '.join(verbs)}.")
        prog = f"{prog} {name}"
        verb = verbs[name]
        if not isinstance(verb, dict):
            if os.environ.get("AFINA_OFFLINE") == "1":
                arm_network_guard()
            if verb is doctor and not argv:  # what a broken installation runs: without typer, and from anywhere
                doctor()
                return 0
            require(os.stat(".").st_nlink, "a pasta em que você estava não existe mais.", "Entre em outra.", prog)
            return run_verb(verb, prog, argv)
        verbs = verb


if __name__ == "__main__":
    sys.exit(main())
