"""Token counts, prices and epochs: the estimate is measured against true counts, and no price is invented."""

import json

import pytest

from afina.errors import CourseError
from afina.jsonl import chat_example, estimate, limits, tokens, write_jsonl
from afina.jsonl.cost import default_epochs
from afina.jsonl.estimate import main
from afina.jsonl.limits import MODELS, find_model
from afina.ptbr import dollars

# (text, tokens): counted once with the o200k_base vocabulary of the npm package gpt-tokenizer 3.
TRUE_COUNTS = [
    ("O modelo aprende a prever o próximo token a partir do contexto que recebeu.", 15),
    ("Adorei o produto! Chegou antes do prazo e a caixa veio bem fechada. Recomendo.", 22),
    ("Não gostei: a bateria dura pouco e o atendimento demorou três dias para responder.", 17),
    ("Você é um assistente que responde em português, com frases curtas e exatas.", 18),
    ("Qual é a capital de Pernambuco? Responda só com o nome da cidade.", 17),
    ("O Sport Lisboa e Benfica foi fundado em 28 de fevereiro de 1904, em Lisboa, e joga no Estádio da Luz.", 29),
    ("Escreva uma descrição curta para: Cafeteira elétrica 750 W, modelo CX210, cor preta.", 23),
    (
        "Antes de treinar, limpe os dados: retire linhas repetidas, corrija a codificação e separe um conjunto de "
        "validação que o modelo nunca veja durante o treino.",
        38,
    ),
    ("Parabéns, você ganhou um prêmio de R$ 5.000,00! Clique em http://exemplo.com/premio e informe seus dados.", 32),
    ("oi, tudo bem? vc vem amanhã? traz o carregador pfv", 15),
    (
        "A regularização por dropout desliga neurônios ao acaso em cada passo, o que obriga a rede a não depender de um só caminho.",
        30,
    ),
    ('Classifique o sentimento: "O som é baixo, mas o acabamento é bonito e o preço valeu a pena."', 24),
    (
        "Para instalar o pacote, abra o terminal, crie um ambiente virtual e execute o comando indicado na página da aula.",
        24,
    ),
    ("Segundo o relatório, as vendas cresceram 12,5% em 2025 e chegaram a 3,4 milhões de unidades.", 28),
    ("Wireless Mouse M185 - Black, 2.4 GHz, with USB Nano Receiver", 17),
    ("The quick guide explains how to clean a dataset, split it, and train a small model on a laptop.", 22),
    (
        "This stainless steel bottle keeps drinks cold for 24 hours. It fits most cup holders and has a leak-proof lid.",
        24,
    ),
    ("Noise Cancelling Headphones WH1000 (Refurbished), 30-hour battery, black", 19),
    (
        "Gradient descent updates each weight in the direction that reduces the loss; the learning rate decides how far.",
        20,
    ),
    ('{"cidade": "Recife", "unidade": "celsius", "dias": [1, 2, 3], "ativo": true}', 32),
    ("def soma(valores):\n    total = 0\n    for valor in valores:\n        total += valor\n    return total\n", 26),
    ("SELECT nome, preco FROM produtos WHERE categoria = 'livros' ORDER BY preco DESC LIMIT 10;", 21),
    (
        "Lembre-se: a validação mede o que o modelo faz com exemplos novos. Se eles também estiverem no treino, a nota não vale nada.",
        31,
    ),
    (
        "Resumo da reunião:\n- prazo adiado para sexta-feira;\n- orçamento aprovado;\n- próxima conversa na terça, às 14h30.",
        28,
    ),
]


def test_estimate_is_within_its_claim_on_texts_it_was_not_fitted_to():
    estimated = [tokens.estimate_tokens(text) for text, _ in TRUE_COUNTS]
    true = [count for _, count in TRUE_COUNTS]
    assert abs(sum(estimated) / sum(true) - 1) < 0.07  # the label says: up to 7 % on a file's total
    errors = sorted(abs(e / t - 1) for e, t in zip(estimated, true, strict=True))
    assert errors[len(errors) // 2] < 0.07


def test_counting_together_is_counting_apart():
    texts = [text for text, _ in TRUE_COUNTS]
    together = tokens.Estimated().count(texts)
    assert together == pytest.approx(sum(tokens.Estimated().count([text]) for text in texts))


@pytest.mark.parametrize("text", ["A!A!", "", "é" * 9, "日本語", "1234", "ab\ncd", "😀" * 3, "\ud800"])
def test_no_text_passes_the_bound_that_the_validator_relies_on(text):
    size = len(text.encode("utf-8", "surrogatepass"))
    assert 0 <= tokens.Estimated().count([text]) <= tokens.MOST_PER_BYTE * size + 1e-9


def test_the_real_tokenizer_is_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert not tokens.exact_at_hand()
    write_jsonl(tmp_path / "t.jsonl", [chat_example("oi", "olá")] * 12)
    answer = estimate(tmp_path / "t.jsonl", "gpt-4.1-mini")
    assert answer.tokens_label == tokens.ESTIMATE_LABEL
    from afina.jsonl import validate

    with pytest.raises(CourseError, match="tiktoken"):
        validate(tmp_path / "t.jsonl", tokens="exact")


def test_cost_is_tokens_times_epochs_times_price():
    answer = estimate(1_000_000, "gpt-4.1", epochs=2)
    assert (answer.trained_tokens, answer.usd) == (2_000_000, 50.0)
    assert "US$ 50,00" in answer.line and "developers.openai.com" in str(answer)
    assert "2027-01-14" in str(answer)  # the wind-down is part of the answer


def test_a_price_without_a_source_is_not_invented():
    for model in MODELS:
        assert (model.price is None) == (model.source is None), model.id
    answer = estimate(1000, "amazon.nova-pro-v1:0")
    assert answer.usd is None and "preço não verificado" in str(answer) and answer.to_dict()["usd"] is None
    assert "60,50" in str(answer)  # the hosting trap


@pytest.mark.parametrize(("examples", "epochs"), [(10, 10), (3, 25), (100, 3), (8000, 3), (20_000, 1), (0, 3)])
def test_automatic_epochs_follow_the_cookbook(examples, epochs):
    assert default_epochs(find_model("gpt-4.1-mini"), examples)[0] == epochs


def test_bedrock_epochs_are_the_services_default():
    assert estimate(10, "amazon.nova-micro-v1:0:128k").epochs == 2
    assert estimate(10, "meta.llama3-1-8b-instruct-v1:0").epochs == 5


@pytest.mark.parametrize("epochs", [0, 51, 1.5, True, "3"])
def test_wrong_epochs_are_refused(epochs):
    with pytest.raises(CourseError, match="épocas"):
        estimate(10, "gpt-4.1-mini", epochs=epochs)


@pytest.mark.parametrize(("name", "found"), [
    ("gpt-4.1", "gpt-4.1-2025-04-14"), ("GPT-4.1-mini ", "gpt-4.1-mini-2025-04-14"),
    ("amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0:256k"),
])  # fmt: skip
def test_model_names(name, found):
    assert find_model(name).id == found


@pytest.mark.parametrize("name", ["", "gpt", "banana", "amazon.nova"])
def test_unknown_models_are_refused_with_the_list(name):
    with pytest.raises(CourseError, match=r"gpt-4\.1-mini"):
        find_model(name)


def test_table_is_dated_and_complete():
    assert limits.READ_ON == "2026-11-20"
    for form in limits.FORMATS:
        assert limits.takes(limits.default_model(form), form)
    nova, nova2 = find_model("amazon.nova-lite-v1:0"), find_model("amazon.nova-2-lite-v1:0")
    assert (nova.min_examples, nova2.min_examples, find_model("gpt-4.1").min_examples) == (8, 200, 10)


def test_dollars_are_brazilian():
    assert [dollars(x) for x in (0, 0.0114, 1234.5)] == ["US$ 0,00", "US$ 0,0114", "US$ 1.234,50"]


def test_command_line(tmp_path, capsys):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [chat_example(f"pergunta {i}", "resposta") for i in range(20)])
    assert main([str(path), "--model", "gpt-4.1", "--epochs", "2", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["epochs"] == 2 and answer["usd"] == pytest.approx(answer["tokens"] * 2 * 25 / 1e6)
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    assert "gpt-4.1-mini-2025-04-14" in out and "gpt-4.1-nano" not in out  # the retired one is not offered
