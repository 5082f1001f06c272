"""The estimate is measured against true counts, and the real tokenizer is never fetched."""

import pytest

from afina.errors import CourseError
from afina.jsonl import chat_example, estimate, tokens, validate, write_jsonl

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
    with pytest.raises(CourseError, match="tiktoken"):
        validate(tmp_path / "t.jsonl", tokens="exact")
