"""The `afina` command: one verb a room. Each verb's module has `main(argv) -> exit code` and is imported only when called."""

from __future__ import annotations

import importlib
import os
import sys

from afina.errors import CourseError
from afina.runtime import arm_network_guard

COMMANDS = {
    "prep": ("afina.data.catalog", "limpa, deduplica, divide e fragmenta um catálogo JSON Lines"),
    "download": ("afina.data.download", "baixa o arquivo real AmazonTitles-1.3MM, com retomada e checksum"),
    "synthetic": ("afina.data.synthetic", "gera o catálogo sintético, de qualquer tamanho"),
    "validate": ("afina.jsonl.validate", "confere um JSONL de fine-tuning: todos os problemas, por linha"),
    "estimate": ("afina.jsonl.estimate", "estima tokens e custo antes de qualquer job"),
    "train": ("afina.launch", "treina um GPT, um BERT ou um Llama, em um processo ou em vários"),
    "jobs": ("afina.jobs.cleaning", "o que os jobs criaram e quanto custa; apaga na ordem certa"),
    "cloud": ("afina.cloud", "sobe os gêmeos locais da OpenAI e do Bedrock, para jobs sem rede e sem conta"),
    "serve": ("afina.serve", "serve um checkpoint: API como a da OpenAI e página de conversa"),
    "feedback": ("afina.serve.feedback", "as opiniões da página: lista, e exporta para treino"),
    "course": ("workshop.course", "executa as aulas e mostra o resultado"),
    "grade": (
        "workshop.grade.room",
        "corrige uma pasta de tarefas entregues, cada uma isolada, com retorno por estudante",
    ),
    "doctor": ("afina.doctor", "relatório do ambiente para colar em uma issue"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Exit codes: 0 done, 1 the verb found problems, 2 it could not do its work, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        lines = [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
        print("uso: afina COMANDO [opções]   (afina COMANDO --help explica cada um)\n\n" + "\n".join(lines))
        return 0
    if argv[0] not in COMMANDS:
        print(f'erro: não conheço o comando "{argv[0]}". Use um destes: {", ".join(COMMANDS)}.', file=sys.stderr)
        return 2
    if os.environ.get("AFINA_OFFLINE") == "1":
        arm_network_guard()
    try:
        return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])
    except CourseError as error:
        print(f"erro: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrompido: nada ficou pela metade; rode de novo quando quiser.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
