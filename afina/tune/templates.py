"""The forms in which instructions are written, once each: Alpaca in English (lesson 14) and in Portuguese (lesson 12).

A chat form is a Jinja template, as transformers keeps it beside a tokenizer. Lesson 12's text is `afina.gpt.instruct.alpaca`.
"""

ALPACA = "### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n{}"

# of models/llama-base: the same form serves training, the twins and the chat page
LLAMA_CHAT = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '### Response:\n' + message['content'] + eos_token + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
# of a GPT by hand: the prompts of lesson 12; an input goes into the message: "instruction\n\n### Entrada:\ninput"
ALPACA_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '### Resposta:\n' + message['content'] + eos_token }}"
    "{% elif message['role'] == 'user' %}{{ '### Instrução:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Resposta:\n' }}{% endif %}"
)
MODELFILE = '''\
FROM ./{file}
TEMPLATE """{template}"""
PARAMETER stop "{stop}"
PARAMETER stop "### Instruction:"
PARAMETER temperature 0
PARAMETER num_predict {tokens}
'''
